"""A model in memory: networks and their metadata."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE, Template
from stylemix.io.atomic import Json
from stylemix.io.files import StrPath
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator

FINGERPRINT_DIGITS = 16


@dataclass(eq=False, repr=False)  # comparing tensors has no single answer
class Model:
    """A generator, an optional discriminator, its face template, model card and origin.

    `origin` is "stylemix", "nvidia", "tensorflow" or "rosinality"; `card` has the model's sources
    and licence; `latents_of` has the fingerprints of other models with the same latent space (see
    `blend`).
    """

    generator: Generator
    discriminator: Discriminator | None = None
    template: Template = NO_TEMPLATE
    card: dict[str, Json] = field(default_factory=dict)
    origin: str = "stylemix"
    latents_of: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_template(self.template, self.generator.config)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the generator's weights, 16 hex digits."""
        return fingerprint(self.generator)

    def reads(self, base: str) -> bool:
        """Whether latents and styles of the model with the fingerprint `base` fit this one."""
        return base in self.latents_of or base == self.fingerprint

    def save(self, path: StrPath, dtype: Literal["float16", "float32"] = "float16") -> None:
        """Writes a model file, .safetensors or .pkl, in "float16" or "float32"."""
        from stylemix.models.checkpoint import save_model  # which imports this module

        save_model(path, self, dtype)


def check_model(model: object) -> None:
    """Raises StylemixError for what is no model."""
    if not isinstance(model, Model):
        raise StylemixError(
            f"got {type(model).__name__} as the model; expected a shipped name, a file or a Model; "
            "use stylemix.load_model, or make a Model of a generator"
        )


def check_template(template: Template, config: GeneratorConfig) -> None:
    """Raises StylemixError for a face template with a generator that is not square."""
    if template.kind != "none" and config.height != config.width:
        raise StylemixError(
            f"got the face template {template.name} for a model of {config.size_text}; expected "
            "none, since face crops are square; use --template none"
        )


def fingerprint(generator: nn.Module) -> str:
    """Returns 16 hex digits of SHA-256 over names, shapes and fp16 values of all weights.

    Values are rounded to fp16, so that fp16 and fp32 files of a model share a fingerprint.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(f"{name}{list(tensor.shape)}".encode())
        half = tensor.detach().to("cpu", torch.float16).contiguous()
        digest.update(half.numpy().astype("<f2", copy=False).tobytes())
    return digest.hexdigest()[:FINGERPRINT_DIGITS]


def count_parameters(network: nn.Module) -> int:
    """Returns the number of parameters, without buffers."""
    return sum(p.numel() for p in network.parameters())
