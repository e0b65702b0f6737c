"""The model of a call: by name, file or object, with another template or at a label."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TypeVar

from stylemix.devices import find_device
from stylemix.faces.templates import Template, find_template
from stylemix.io.files import StrPath
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model, check_model
from stylemix.networks.labels import Label, at_label

DEFAULT_MODEL = "faces-64"

AnyModel = StrPath | Model
AnyTemplate = StrPath | Template
SomeModel = TypeVar("SomeModel", bound=Model)


def use_model(
    model: AnyModel,
    device: str = "auto",
    template: AnyTemplate | None = None,
    label: Label | None = None,
) -> Model:
    """Loads a model by name or file; a loaded model stays on its device, and is not changed.

    Args:
        model: a shipped name, a file or a model.
        device: "cpu", "cuda", "cuda:1" or "auto", for a name or file.
        template: alignment of photos, by name or file; None for the model's own.
        label: the class or label of all latents, of a conditional model.

    Raises StylemixError for a template or a label that the model cannot have.
    """
    if not isinstance(model, str | os.PathLike):
        check_model(model)
    chosen = None if template is None else find_template(template)  # before the file is read
    network = model if isinstance(model, Model) else load_model(model, find_device(device))
    return adjust(network, chosen, label)


def adjust(model: SomeModel, template: Template | None, label: Label | None) -> SomeModel:
    """Returns a model with the same networks, another template (None: its own), and at a label."""
    if template is None and label is None:
        return model
    generator, discriminator = at_label(model.generator, label), model.discriminator
    if discriminator is not None and discriminator.c_dim:
        discriminator = at_label(discriminator, label)
    chosen = template or model.template
    return replace(model, generator=generator, discriminator=discriminator, template=chosen)
