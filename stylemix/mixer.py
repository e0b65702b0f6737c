"""What the sources and styles of a command may name: read once each, then rendered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from stylemix.checkpoint import load_model
from stylemix.errors import StylemixError
from stylemix.images import resize, to_pil
from stylemix.latent_files import Latent, load_latent
from stylemix.latents import parse_layers
from stylemix.mixing import (
    Ingredient,
    blend_style,
    generator_style,
    look_factor,
    profile_style,
    render,
)
from stylemix.model import Model
from stylemix.portraits import Portrait, project_portraits, read_portrait
from stylemix.projection import seed_latent
from stylemix.sheets import fit_size
from stylemix.sources import EXTENSIONS, ImageSource, list_images
from stylemix.style import Style, check_strength, find_style, format_of, load_style

SMALLEST_OUTPUT = 256  # px; a 64 px avatar is hard to see
SMALLEST_CELL = 192  # px of a picture on a grid
BATCH = 8  # photos that are projected at once
STYLE, LATENT, MODEL = "stylemix-style", "stylemix-latent", "stylemix-model"


@dataclass(frozen=True)
class Wanted:
    """A `--source` or `--style` as it was written: what, and for a style with which weight."""

    what: str
    weight: float | None = None

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """Reads "STYLE" or "STYLE:WEIGHT"; "seed:7" and "C:\\style.pkl" are no weights."""
        found = re.fullmatch(r"(.+):(-?\d*\.?\d+)", text)
        if found is None or found[1] == "seed" or Path(text).exists():
            return cls(text)
        weight = float(found[2])
        check_strength(weight)
        return cls(found[1], weight)

    @property
    def name(self) -> str:
        """A short name for labels and files."""
        if self.what.startswith("seed:"):
            return self.what.replace(":", "")
        return Path(self.what).absolute().stem.removesuffix(".latent")

    @property
    def label(self) -> str:
        """The name with the weight, where there is one."""
        return self.name if self.weight is None else f"{self.name} {self.weight:g}"


class Mixer:
    """A model with what `--source` and `--style` may name; each is read once."""

    def __init__(self, model: Model, layers: str | None = None, face: int | None = None) -> None:
        self.model, self.layers, self.face = model, layers, face
        self.base, self.generator = model.fingerprint, model.generator
        self.device = model.generator.mapping.w_avg.device
        if layers is not None:
            parse_layers(layers, model.generator.img_resolution)
        self.people: dict[str, Latent] = {}
        self.styles: dict[str, Style | Tensor] = {}  # or ws [K, L, w_dim] of other pictures

    def read(self, sources: Sequence[str], styles: Sequence[str]) -> None:
        """Reads everything by name: files and faces first, projecting all photos together last.

        So what is wrong with any of them is told before the work begins.
        """
        found: dict[tuple[str, str], Style | Tensor | Latent | list[Portrait]] = {}
        for what in dict.fromkeys(styles):
            found["style", what] = self._read_style(what)
        for what in dict.fromkeys(sources):
            found["source", what] = self._read_source(what)
        waiting = [p for value in found.values() if isinstance(value, list) for p in value]
        parts = [waiting[i : i + BATCH] for i in range(0, len(waiting), BATCH)]
        projected = [one for part in parts for one in project_portraits(part, self.model)[1]]
        for (role, what), value in found.items():
            own: list[Latent] = []
            if isinstance(value, list):
                own, projected = projected[: len(value)], projected[len(value) :]
            elif isinstance(value, Latent):
                own = [value]
            if role == "source":
                self.people[what] = own[0]
            elif isinstance(value, Style):
                self.styles[what] = value
            else:
                self.styles[what] = torch.stack([one.w for one in own]).to(self.device)

    def _read_source(self, what: str) -> Latent | list[Portrait]:
        """The latent of a latent file or "seed:N", or a photo that is to be projected."""
        path = _path(what, "--source")
        if what.startswith("seed:"):
            return self._drawn(what)
        if path.is_file() and not _is_picture(path):
            return self._read_latent(path)
        return [read_portrait(path, self.model, self.face)]

    def _drawn(self, what: str) -> Latent:
        return Latent(seed_latent(self.generator, _seed(what))[0], self.base)

    def _read_style(self, what: str) -> Style | Latent | list[Portrait]:
        """A style, latents, or photos that are to be projected."""
        _path(what, "--style")
        path = find_style(what)
        if what.startswith("seed:"):
            return self._drawn(what)
        if path.is_dir() or path.suffix.lower() == ".zip":
            return [self._read_look(source) for source in list_images(path)]
        if _is_picture(path):
            return [self._read_look(path)]
        form = format_of(path) if path.exists() else STYLE
        if form == STYLE:
            return load_style(what, self.model)
        if form == LATENT:
            return self._read_latent(path)
        if form == MODEL:
            return self._difference(load_model(path, self.device), path)
        try:  # files of other programs do not say what they are
            return self._read_latent(path)
        except StylemixError as no_latent:
            try:
                other = load_model(path, self.device)
            except StylemixError:
                raise no_latent from None
        return self._difference(other, path)

    def _read_latent(self, path: Path) -> Latent:
        return load_latent(path, self.model)

    def _difference(self, other: Model, path: Path) -> Style:
        return generator_style(self.generator, self.base, other.generator, str(path))

    def _read_look(self, photo: Path | ImageSource) -> Portrait:
        """A photo of `--style`; `--face` is for the sources, and here only where it is needed."""
        try:
            return read_portrait(photo, self.model)
        except StylemixError:
            if self.face is None:
                raise
            return read_portrait(photo, self.model, self.face)

    def ingredient(self, wanted: Wanted, person: Latent, strength: float | None) -> Ingredient:
        """What a `--style` adds to a person."""
        style = self.styles[wanted.what]
        if isinstance(style, Tensor):
            factor = None if self.layers else look_factor(self.generator)
            if len(style) == 1:
                style = blend_style(self.base, person.w.to(self.device), style[0], factor)
            else:
                style = profile_style(self.generator, self.base, style, factor)
        weight = wanted.weight
        if strength is not None:
            weight = strength * (1.0 if weight is None else weight)
        return Ingredient(style, weight, self.layers)

    def show(self, person: Latent, parts: Sequence[Ingredient] = ()) -> Tensor:
        """The image [1, C, H, W] of a person with these ingredients, added."""
        return render(self.generator, person.w[None].to(self.device), parts, person.detail)

    def render(
        self, person: Latent, wanted: Sequence[Wanted], strength: float | None
    ) -> Image.Image:
        """The picture of a person in the given styles, added."""
        return to_pil(self.show(person, [self.ingredient(i, person, strength) for i in wanted]))


def _path(what: str, option: str) -> Path:
    if not what:
        raise StylemixError(f"got an empty {option}; expected a file or seed:N; give its name")
    return Path(what).expanduser()


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _seed(what: str) -> int:
    found = re.fullmatch(r"seed:(\d{1,10})", what)
    if found is None:
        raise StylemixError(f"got {what[:40]!r}; expected seed: and a number, as in seed:7")
    return int(found[1])


def enlarge(picture: Image.Image, size: int | None = None) -> Image.Image:
    """A picture with a longer side of `size` px; None for its own, but at least 256 px."""
    return resize(picture, fit_size(picture.size, size or max(*picture.size, SMALLEST_OUTPUT)))
