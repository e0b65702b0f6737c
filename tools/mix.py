"""`stylemix mix`: a person in a style."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from PIL import Image
from torch import Tensor

from stylemix.checkpoint import load_model
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.images import check_image_path, resize, save_image, to_pil
from stylemix.latents import load_latent, parse_layers
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
from stylemix.sheets import grid
from stylemix.sources import EXTENSIONS, list_images
from stylemix.style import Style, find_style, is_style, load_style

SMALLEST_OUTPUT = 256  # px; a 64 px avatar is hard to see


@dataclass(frozen=True)
class Wanted:
    """A `--style` as it was written: what, and with which weight."""

    what: str
    weight: float | None

    @classmethod
    def parse(cls, text: str) -> Wanted:
        """Reads "STYLE" or "STYLE:WEIGHT"; "seed:7" and "C:\\style.pkl" are no weights."""
        found = re.fullmatch(r"(.+):(-?\d*\.?\d+)", text)
        if found is None or found[1] == "seed" or Path(text).exists():
            return cls(text, None)
        return cls(found[1], float(found[2]))

    @property
    def name(self) -> str:
        """A label for pictures."""
        return self.what if self.what.startswith("seed:") else Path(self.what).stem


class Mixer:
    """A model with what `--source` and `--style` may name; each is read once."""

    def __init__(self, model: Model, layers: str | None = None, face: int | None = None) -> None:
        self.model, self.layers, self.face = model, layers, face
        self.base = model.fingerprint
        if layers is not None:
            parse_layers(layers, model.generator.img_resolution)
        self._latents: dict[str, Tensor] = {}

    def latent(self, what: str) -> Tensor:
        """The ws [L, w_dim] of a photo, a latent file or "seed:N"."""
        if what not in self._latents:
            self._latents[what] = self._read_latent(what)
        return self._latents[what]

    def _read_latent(self, what: str) -> Tensor:
        if what.startswith("seed:"):
            return seed_latent(self.model.generator, _seed(what))[0]
        path = Path(what).expanduser()
        device = self.model.generator.mapping.w_avg.device
        if path.is_file() and not _is_picture(path):
            return load_latent(path, self.model).w.to(device)
        return self._project([read_portrait(path, self.model, self.face)])[0]

    def _project(self, portraits: list[Portrait]) -> Tensor:
        return project_portraits(portraits, self.model)[0].ws

    def ingredient(self, wanted: Wanted, source: Tensor, strength: float | None) -> Ingredient:
        """What a `--style` adds to a source [L, w_dim]."""
        style = self._style(wanted.what, source)
        weight = wanted.weight
        if strength is not None:
            weight = strength * (1.0 if weight is None else weight)
        return Ingredient(style, weight, self.layers)

    def _style(self, what: str, source: Tensor) -> Style:
        path, generator = find_style(what), self.model.generator
        factor = None if self.layers else look_factor(generator)
        if what.startswith("seed:"):
            return blend_style(self.base, source, self.latent(what), factor)
        if path.is_dir() or path.suffix.lower() == ".zip":
            others = self._folder(path)
            if len(others) > 1:
                return profile_style(generator, self.base, others, factor)
            return blend_style(self.base, source, others[0], factor)
        if _is_picture(path):
            return blend_style(self.base, source, self.latent(what), factor)
        if not path.is_file() or is_style(path):
            return load_style(what, self.model)
        return self._from_weights(path, source, factor)

    def _folder(self, path: Path) -> Tensor:
        """The ws [K, L, w_dim] of all photos of a folder or zip."""
        key = f"folder {path}"
        if key not in self._latents:
            portraits = [read_portrait(s, self.model, self.face) for s in list_images(path)]
            parts = [portraits[i : i + 8] for i in range(0, len(portraits), 8)]
            self._latents[key] = torch.cat([self._project(part) for part in parts])
        return self._latents[key]

    def _from_weights(self, path: Path, source: Tensor, factor: Tensor | None) -> Style:
        """A latent or a generator, whichever the file turns out to be."""
        try:
            other = load_latent(path, self.model).w.to(source)
        except StylemixError as no_latent:
            try:
                model = load_model(path, source.device)
            except StylemixError:
                raise no_latent from None
            return generator_style(self.model.generator, self.base, model.generator, str(path))
        return blend_style(self.base, source, other, factor)

    def check(self, wanted: Wanted) -> None:
        """Reads a style that is a file of weights now, before any photo is worked on."""
        path = find_style(wanted.what)
        if wanted.what.startswith("seed:") or path.is_dir() or _is_picture(path):
            return
        if path.suffix.lower() != ".zip":
            self._style(
                wanted.what,
                self.model.generator.mapping.w_avg.expand(self.model.generator.num_ws, -1),
            )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _seed(what: str) -> int:
    text = what.removeprefix("seed:")
    if not text.isdigit():
        raise StylemixError(f"got {what!r}; expected seed: and a number, as in seed:7")
    return int(text)


def enlarge(image: Tensor, size: int | None = None) -> Image.Image:
    """A picture of `size` px from [C, H, H]; None for the model's own, at least 256 px."""
    picture = to_pil(image)
    size = size or max(picture.width, SMALLEST_OUTPUT)
    return picture if picture.width == size else resize(picture, size)


@click.command("mix")
@click.option(
    "--source", "sources", multiple=True, required=True,
    help="Photo, latent file or seed:N; again for several people.",
)  # fmt: skip
@click.option(
    "--style", "styles", multiple=True, required=True,
    help="Style file or shipped style, photo, folder of photos, latent file, generator file or "
    "seed:N, with :WEIGHT behind it if wanted; again to add styles.",
)  # fmt: skip
@click.option("--model", default="faces-64", show_default=True, help="Model file or shipped name.")
@click.option("--strength", type=float, help="Factor on all styles.  [default: each style's own]")
@click.option(
    "--layers",
    help="Where styles act: coarse, middle, fine, all, pixels such as 16-64px, numbers such as "
    "0-3.  [default: each style's own]",
)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("out.png"), show_default=True,
    help="Picture; with several sources and no --grid a folder.",
)  # fmt: skip
@click.option("--grid", "as_grid", is_flag=True, help="One picture of sources by styles.")
@click.option("--size", type=click.IntRange(16, 4096), help="Side of the output in px.")
@click.option("--face", type=click.IntRange(1), help="Which of several faces, largest first.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def mix_command(
    sources: tuple[str, ...],
    styles: tuple[str, ...],
    model: str,
    strength: float | None,
    layers: str | None,
    output: Path,
    as_grid: bool,
    size: int | None,
    face: int | None,
    device: str,
) -> None:
    """Give a person the look of one or more styles: a personalised avatar.

    \b
    Examples:
      stylemix mix --source me.jpg --style influencer.pkl --output avatar.png
      stylemix mix --source me.jpg --style toon --style golden-hour:0.5
      stylemix mix --source me.jpg --source you.jpg --style toon --style noir --grid
    """
    single = as_grid or len(sources) == 1
    if single:
        check_image_path(output)
    wanted = [Wanted.parse(text) for text in styles]
    mixer = Mixer(load_model(model, find_device(device)), layers, face)
    for item in wanted:
        mixer.check(item)
    people = [mixer.latent(source) for source in sources]
    if as_grid:
        _save_grid(mixer, sources, people, wanted, strength, output, size)
        click.echo(f"Wrote {output}")
        return
    for source, person in zip(sources, people, strict=True):
        parts = [mixer.ingredient(item, person, strength) for item in wanted]
        image = render(mixer.model.generator, person[None], parts)[0]
        path = output if single else output / f"{Wanted(source, None).name}.png"
        save_image(path, enlarge(image, size), generated="composite")
        click.echo(f"Wrote {path}")


def _save_grid(
    mixer: Mixer,
    names: tuple[str, ...],
    people: list[Tensor],
    wanted: list[Wanted],
    strength: float | None,
    output: Path,
    size: int | None,
) -> None:
    """Rows are people, columns their reconstruction and each style by itself."""
    cells = []
    for person in people:
        cells.append(enlarge(render(mixer.model.generator, person[None])[0], size))
        for item in wanted:
            part = mixer.ingredient(item, person, strength)
            cells.append(enlarge(render(mixer.model.generator, person[None], [part])[0], size))
    sheet = grid(
        cells,
        columns=len(wanted) + 1,
        column_labels=["reconstruction", *(item.name for item in wanted)],
        row_labels=[Wanted(name, None).name for name in names],
        cell=size or max(mixer.model.generator.img_resolution, 192),
    )
    save_image(output, sheet, generated="composite")
