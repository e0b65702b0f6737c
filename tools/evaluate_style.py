"""`stylemix evaluate-style`: how well avatars keep the person and take the style."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click
from torch import Tensor

from stylemix.avatars.evaluation import StyleEvaluation
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import MIN_CELL
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.images.contact_sheet import grid
from stylemix.images.sources import list_images, unique_names
from stylemix.images.tensors import to_pil
from stylemix.images.write import check_folder, save_image
from stylemix.inversion.portraits import read_portrait
from stylemix.inversion.settings import METHODS, PRESETS, ProjectionSettings
from stylemix.inversion.store import PhotoToProject, project_missing
from stylemix.io.atomic import Json, write_json, write_text
from stylemix.metrics.avatars import Record, table
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.training.adapt.method import read_pictures, some_of

WAYS = (*PRESETS, *(method for method in METHODS if method != "hybrid"))


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
    "--images", multiple=True,
    help="NAME=PATH: images of a style whose file does not say what it should look like.",
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
    images: tuple[str, ...],
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
    evaluation = StyleEvaluation(network, wanted, strength, _references(images, network))
    report: dict[str, Record] = {}
    for way in dict.fromkeys(ways):
        folder = output / way.replace("+", "-plus")
        done = project_missing(people, network, _settings(way), folder)
        latents = {name: latent for name, latent, _ in done}
        report[way], cells = evaluation.measure(
            [one.portrait for one in people], [latents[one.name] for one in people]
        )
        click.echo(f"{way}: {len(people)} photos in {len(wanted)} styles")
        names = [one.name for one in people]
        _save_sheet(folder.with_name(f"{folder.name}.png"), cells[:rows], names, evaluation.names)
    about: Json = {
        "model": network.fingerprint,
        "photos": len(people),
        "styles": list(evaluation.names),
        "peak memory MB": _peak_memory(),
        "methods": dict(report),
    }
    write_json(output / "report.json", about)
    text = table(report)
    write_text(output / "table.md", text)
    click.echo(text, nl=False)


def _read_people(sources: tuple[Path, ...], model: Model) -> list[PhotoToProject]:
    """The photos that can be used; the others are told on standard error."""
    listed = list_images(sources)
    names = unique_names(source.stem for source in listed)
    people = []
    for name, source in zip(names, listed, strict=True):
        try:
            people.append(PhotoToProject(name, read_portrait(source, model)))
        except StylemixError as error:
            click.echo(f"Left out: {error}", err=True)
    if not people:
        raise StylemixError("got no photo that can be used; the lines above say why")
    return people


def _references(pairs: tuple[str, ...], model: Model) -> dict[str, Tensor]:
    """Images [K, C, H, W] in [-1, 1] of `--images NAME=PATH`, by name."""
    found = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not path:
            raise StylemixError(f"got --images {pair[:60]!a}; expected NAME=PATH; add the path")
        found[name] = some_of(read_pictures(list_images(path), model, align=False))
    return found


def _settings(way: str) -> ProjectionSettings:
    return PRESETS[way] if way in PRESETS else replace(PRESETS["balanced"], method=way)


def _peak_memory() -> int | None:
    """The most memory that the process had, in MB; None on Windows, which does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024))


def _save_sheet(
    path: Path, shown: list[list[Tensor]], people: list[str], styles: list[str]
) -> None:
    sheet = grid(
        [to_pil(image) for row in shown for image in row],
        columns=len(shown[0]),
        column_labels=["photo", "reconstruction", *styles],
        row_labels=people[: len(shown)],
        cell=MIN_CELL,
    )
    save_image(path, sheet, generated="composite")
