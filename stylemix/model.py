"""A model with the functions of the Python interface as methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, ParamSpec

import torch
from PIL import Image

from stylemix.api import align, animate, edit, generate, mix, project
from stylemix.avatars.drag import DragStep, Points, drag
from stylemix.avatars.inputs import Several, Source, Styles
from stylemix.devices import find_device
from stylemix.images.html import card
from stylemix.images.sources import Photo
from stylemix.inversion.latent import Latent
from stylemix.io.files import StrPath
from stylemix.models.blend import blend as blend_networks
from stylemix.models.header import header_of
from stylemix.models.hub import MODEL_EXAMPLE, MODEL_FILE, Pretrained, Shared, pretrained_file
from stylemix.models.loading import DEFAULT_MODEL, AnyTemplate, use_model
from stylemix.models.model import Model as NetworkModel
from stylemix.networks.labels import Label

Arguments = ParamSpec("Arguments")
SHOWN, SHOWN_PX = 4, 256  # images of a model in notebooks, fewer above that resolution


class Model(NetworkModel, Shared):
    """A model with the functions of `stylemix.api` as methods, so that it is loaded only once.

    >>> import stylemix
    >>> model = stylemix.load_model("faces-64")
    >>> [image.size for image in model.generate(seeds=[1, 2])]
    [(64, 64), (64, 64)]
    """

    @classmethod
    def load(
        cls,
        path: StrPath = DEFAULT_MODEL,
        device: str = "auto",
        template: AnyTemplate | None = None,
        label: Label | None = None,
    ) -> Model:
        """Loads a model by shipped name or file, ours or another program's; see `use_model`."""
        return cls.of(use_model(path, device, template, label))

    @classmethod
    def of(cls, model: NetworkModel) -> Model:
        """The same model with these methods."""
        return cls(**{name: getattr(model, name) for name in cls.__dataclass_fields__})

    def _repr_html_(self) -> str:
        """Images of its first seeds, its sizes and its card, for notebooks."""
        config = self.generator.config
        count = max(1, min(SHOWN, SHOWN * SHOWN_PX // config.img_resolution))
        label = 0 if self.generator.needs_label else None
        images = generate(range(count), model=self, psi=0.7, label=label)
        sizes = {"image": config.size_text, "z": config.z_dim, "w": config.w_dim}
        facts = {"template": self.template.name, "fingerprint": self.fingerprint, **self.card}
        return card("model", {**sizes, **facts}, images)

    @classmethod
    def from_pretrained(cls, name: StrPath, **options: Any) -> Model:
        """Loads a model of a folder, of the Hugging Face Hub (OWNER/NAME), or as `load` does.

        The options are those of `load`.
        """
        return cls.load(pretrained_file(name), **options)

    def pretrained(self) -> Pretrained:
        """What `save_pretrained` writes and `push_to_hub` uploads: weights, sizes and the card."""
        header, task = header_of(self), "unconditional-image-generation"
        sizes = {key: header[key] for key in ("generator", "fingerprint", "origin")}
        return Pretrained(MODEL_FILE, self.save, sizes, self.card, task, MODEL_EXAMPLE)

    def to(self, device: str | torch.device) -> Model:
        """Moves the networks to a device; returns the model itself."""
        target = find_device(str(device))
        self.generator.to(target)
        if self.discriminator is not None:
            self.discriminator.to(target)
        return self

    def mix(self, source: Source, styles: Styles, **options: Any) -> Image.Image:
        """`stylemix.mix` with this model."""
        return mix(source, styles, model=self, **options)

    def project(self, photo: Photo, **options: Any) -> Latent:
        """`stylemix.project` with this model."""
        return project(photo, model=self, **options)

    def edit(self, source: Source, **options: Any) -> Image.Image:
        """`stylemix.edit` with this model."""
        return edit(source, model=self, **options)

    def drag(self, source: Source, points: Points, **options: Any) -> DragStep:
        """`stylemix.drag` with this model."""
        return drag(source, points, model=self, **options)

    def generate(self, seeds: Iterable[int], **options: Any) -> list[Image.Image]:
        """`stylemix.generate` with this model."""
        return generate(seeds, model=self, **options)

    def align(self, photo: Photo, **options: Any) -> Image.Image:
        """`stylemix.align` with this model's template and size."""
        return align(photo, model=self, **options)

    def animate(
        self, sources: Source | Several, styles: Styles = (), **options: Any
    ) -> Iterator[Image.Image]:
        """`stylemix.animate` with this model."""
        return animate(sources, styles, model=self, **options)


def _with_methods(make: Callable[Arguments, NetworkModel]) -> Callable[Arguments, Model]:
    """A function whose model has the methods of `Model`."""

    @wraps(make)
    def made(*arguments: Arguments.args, **options: Arguments.kwargs) -> Model:
        return Model.of(make(*arguments, **options))

    return made


blend = _with_methods(blend_networks)


def load_model(
    path: StrPath = DEFAULT_MODEL,
    device: str = "auto",
    template: AnyTemplate | None = None,
    label: Label | None = None,
) -> Model:
    """Loads a model by shipped name or file; no code of the file is executed.

    Args:
        path: a shipped name or a file.
        device: "cpu", "cuda", "cuda:1" or "auto".
        template: alignment of photos, by name or file; None for the model's own.
        label: the class or label of all latents, of a conditional model.
    """
    return Model.load(path, device, template, label)
