"""`stylemix evaluate-style`: how well avatars keep the person and take the style."""

from __future__ import annotations

import resource
import sys
from dataclasses import replace
from pathlib import Path

import click
import torch
from torch import Tensor

from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import SMALLEST_CELL, Mixer
from stylemix.avatars.render import AppliedStyle
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.images.contact_sheet import grid
from stylemix.images.sources import list_images, unique_names
from stylemix.images.tensors import to_pil
from stylemix.images.write import check_folder, save_image
from stylemix.inversion.latent import Latent
from stylemix.inversion.loss import Similarity
from stylemix.inversion.portraits import AlignedPhoto, project_portraits, read_portrait
from stylemix.inversion.settings import METHODS, PRESETS, ProjectionSettings
from stylemix.inversion.store import SUFFIX, find_done, mark_of, save_projection
from stylemix.io.atomic import Json, write_json, write_text
from stylemix.metrics.avatars import Avatars, edit_magnitude, judge_avatars
from stylemix.metrics.identity_judge import judged_embedding
from stylemix.metrics.reconstruction import ms_ssim, psnr
from stylemix.metrics.style_distance import StyleMeter
from stylemix.metrics.style_report import Record, as_row, summarise, table
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.styles.named_directions import named_directions
from stylemix.styles.style import Style
from stylemix.training.data.dataset import ImageDataset

EDITS = {"smile": 2.0, "yaw": 2.0}  # directions and strengths whose effect is measured
BATCH = 8
WAYS = (*PRESETS, *(method for method in METHODS if method != "hybrid"))
MOST_PICTURES = 256  # of a style


@click.command("evaluate-style")
@click.option(
    "--source", "sources", multiple=True, required=True, type=click.Path(path_type=Path),
    help="Photos: files, folders or zips; again for more.",
)  # fmt: skip
@click.option(
    "--style", "styles", multiple=True, required=True,
    help="Style file or shipped style, with :WEIGHT behind it if wanted; again for more.",
)  # fmt: skip
@click.option(
    "--pictures", multiple=True,
    help="NAME=PATH: pictures of a style whose file does not say what it should look like.",
)  # fmt: skip
@click.option(
    "--method", "ways", multiple=True, type=click.Choice(WAYS), default=["balanced"],
    show_default=True, help="How photos are projected; again to compare.",
)  # fmt: skip
@click.option("--strength", type=float, help="Of all styles.  [default: each style's own]")
@click.option("--model", default="faces-64", show_default=True, help="Model file or shipped name.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("evaluation"), show_default=True,
    help="Folder for figures, table, contact sheets and latents.",
)  # fmt: skip
@click.option("--rows", type=click.IntRange(1), default=8, show_default=True,
              help="People on a contact sheet.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def evaluate_style_command(
    sources: tuple[Path, ...],
    styles: tuple[str, ...],
    pictures: tuple[str, ...],
    ways: tuple[str, ...],
    strength: float | None,
    model: str,
    output: Path,
    rows: int,
    device: str,
) -> None:
    """Measure how well avatars keep the person and take the style.

    Every photo is projected and drawn in every style. Identity is judged by a network that nothing
    optimises, style by statistics of the frozen discriminator. The same command again uses the
    latents that it finds.

    \b
    Examples:
      stylemix evaluate-style --source photos/ --style noir --style golden-hour
      stylemix evaluate-style --source photos.zip --style noir --method balanced --method pti
    """
    check_folder(output)
    network = load_model(model, find_device(device))
    wanted = [StyleArgument.parse(text) for text in styles]
    people = _read_people(sources, network)
    bench = _Bench(network, wanted, strength, _pictures_of(pictures, network))
    report: dict[str, Record] = {}
    for way in dict.fromkeys(ways):
        latents = _project(way, people, network, output / way.replace("+", "-plus"))
        report[way], cells = bench.measure([portrait for _, portrait in people], latents)
        click.echo(f"{way}: {len(people)} photos in {len(wanted)} styles")
        _save_sheet(output / f"{way.replace('+', '-plus')}.png", cells, people, bench.names, rows)
    about: Json = {
        "model": network.fingerprint,
        "photos": len(people),
        "styles": list(bench.names),
        "peak memory MB": _peak_memory(),
        "methods": dict(report),
    }
    write_json(output / "report.json", about)
    text = table(report)
    write_text(output / "table.md", text)
    click.echo(text, nl=False)


def _read_people(sources: tuple[Path, ...], model: Model) -> list[tuple[str, AlignedPhoto]]:
    """The photos that can be used; the others are told on standard error."""
    listed = list_images(sources)
    names = unique_names(source.stem for source in listed)
    people = []
    for name, source in zip(names, listed, strict=True):
        try:
            people.append((name, read_portrait(source, model)))
        except StylemixError as error:
            click.echo(f"Left out: {error}", err=True)
    if not people:
        raise StylemixError("got no photo that can be used; the lines above say why")
    return people


def _pictures_of(pairs: tuple[str, ...], model: Model) -> dict[str, Tensor]:
    """Pictures [K, C, H, W] in [-1, 1] of `--pictures NAME=PATH`, by name."""
    found = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not path:
            raise StylemixError(f"got --pictures {pair[:60]!a}; expected NAME=PATH; add the path")
        config = model.generator.config
        size = config.height, config.width
        dataset = ImageDataset([path], size, channels=config.img_channels)
        count = min(len(dataset), MOST_PICTURES)
        images, _ = dataset.batch([i * len(dataset) // count for i in range(count)])
        found[name] = images.float() / 127.5 - 1
    return found


def _settings(way: str) -> ProjectionSettings:
    return PRESETS[way] if way in PRESETS else replace(PRESETS["balanced"], method=way)


def _project(
    way: str, people: list[tuple[str, AlignedPhoto]], model: Model, folder: Path
) -> list[Latent]:
    """The latents of all photos, those of before where they are the same."""
    settings = _settings(way)
    found = {
        name: latent
        for name, portrait in people
        if (latent := find_done(folder / f"{name}{SUFFIX}", portrait, model, settings)) is not None
    }
    waiting = [pair for pair in people if pair[0] not in found]
    for start in range(0, len(waiting), BATCH):
        part = waiting[start : start + BATCH]
        projection, latents = project_portraits([one for _, one in part], model, settings)
        for i, (name, portrait) in enumerate(part):
            latents[i].photo = mark_of(portrait, model, settings)
            images = (projection.image_start[i], projection.image[i])
            folder.mkdir(parents=True, exist_ok=True)
            save_projection(folder, name, portrait, latents[i], images)
            found[name] = latents[i]
    return [found[name] for name, _ in people]


class _Bench:
    """A model with styles, and what they should look like."""

    def __init__(
        self,
        model: Model,
        wanted: list[StyleArgument],
        strength: float | None,
        pictures: dict[str, Tensor],
    ) -> None:
        self.model, self.wanted, self.strength = model, wanted, strength
        self.names = unique_names(item.name for item in wanted)
        self.mixer = Mixer(model)
        self.mixer.read([], [item.what for item in wanted])
        self.meter = StyleMeter(model)
        looks = [self._look(item, pictures) for item in wanted]
        self.looks = torch.stack(looks)
        has_face = model.template.eyes is not None
        self.edits = named_directions(model, list(EDITS)) if has_face else {}

    def _look(self, item: StyleArgument, pictures: dict[str, Tensor]) -> Tensor:
        style = self.mixer.styles[item.what]
        device = self.model.generator.device
        if item.name in pictures:
            return self.meter.look(pictures[item.name].to(device))
        if isinstance(style, Style) and style.statistics is not None:
            return style.statistics.to(device)
        raise StylemixError(
            f"got the style {item.name}, whose file does not say what it should look like; "
            f"expected its pictures; add --pictures {item.name}=PATH, or make it again with "
            "stylemix adapt"
        )

    def measure(
        self, portraits: list[AlignedPhoto], latents: list[Latent]
    ) -> tuple[Record, list[list[Tensor]]]:
        """Figures, and for each photo what is shown: photo, reconstruction and avatars."""
        device = self.model.generator.device
        photos = torch.stack([portrait.image for portrait in portraits]).to(device)
        plain = self._show(latents, [[]] * len(latents))
        styled = torch.stack([self._styled(latents, item) for item in self.wanted])
        figures = judge_avatars(self.model, Avatars(photos, plain, styled, self.looks), self.meter)
        record: Record = {
            "reconstruction": summarise(self._reconstruction(photos, plain)),
            "avatars": summarise(figures, self.names),
            "cost": summarise({"seconds a photo": as_row([_seconds(one) for one in latents])}),
        }
        if self.edits:
            record["edits"] = summarise(self._edits(latents))
        shown = [[photos[i], plain[i], *styled[:, i]] for i in range(len(latents))]
        return record, shown

    def _styled(self, latents: list[Latent], item: StyleArgument) -> Tensor:
        return self._show(
            latents, [[self.mixer.ingredient(item, one, self.strength)] for one in latents]
        )

    def _show(self, latents: list[Latent], ingredients: list[list[AppliedStyle]]) -> Tensor:
        """Images [N, C, H, W] as their files have them, which is within [-1, 1]."""
        pairs = zip(latents, ingredients, strict=True)
        return torch.cat([self.mixer.show(one, some) for one, some in pairs]).clamp(-1, 1)

    @torch.no_grad()
    def _reconstruction(self, photos: Tensor, plain: Tensor) -> dict[str, Tensor]:
        alike = Similarity(self.model, photos, ProjectionSettings(pixel_weight=0.0))
        found = {
            "mse": (plain - photos).square().mean(dim=(1, 2, 3)),
            "psnr": psnr(plain, photos),
            "ms-ssim": ms_ssim(plain, photos),
            "feature distance": alike.appearance(plain),
        }
        if self.model.template.eyes is not None:
            ours, theirs = (judged_embedding(v, self.model.template) for v in (plain, photos))
            found["identity"] = (ours * theirs).sum(dim=1)
        return {key: value.cpu() for key, value in found.items()}

    def _edits(self, latents: list[Latent]) -> dict[str, Tensor]:
        found = {}
        for name, strength in EDITS.items():
            style = self.edits[name]
            less, more = (
                self._show(latents, [[AppliedStyle(style, way)]] * len(latents))
                for way in (-strength, strength)
            )
            found[name] = edit_magnitude(self.model, less, more, name).cpu()
        return found


def _seconds(latent: Latent) -> float:
    return latent.metrics.get("seconds", float("nan"))


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024))


def _save_sheet(
    path: Path,
    cells: list[list[Tensor]],
    people: list[tuple[str, AlignedPhoto]],
    styles: list[str],
    rows: int,
) -> None:
    shown = cells[:rows]
    sheet = grid(
        [to_pil(image) for row in shown for image in row],
        columns=len(shown[0]),
        column_labels=["photo", "reconstruction", *styles],
        row_labels=[name for name, _ in people[:rows]],
        cell=SMALLEST_CELL,
    )
    save_image(path, sheet, generated="composite")
