"""`stylemix evaluate-style`: metrics of identity and style of avatars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from torch import Tensor

from stylemix.avatars.evaluation import StyleEvaluation
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import MIN_CELL
from stylemix.errors import StylemixError
from stylemix.global_options import may_overwrite
from stylemix.images.contact_sheet import grid
from stylemix.images.sources import list_images, unique_names
from stylemix.images.tensors import to_pil
from stylemix.images.write import check_folder, save_image
from stylemix.inversion.portraits import read_portrait
from stylemix.inversion.settings import METHODS, PRESETS, ProjectionSettings
from stylemix.inversion.store import PhotoToProject, project_missing
from stylemix.io.atomic import Json, write_json, write_text
from stylemix.memory import peak_memory
from stylemix.messages import note, problem, result, say, wrote_all
from stylemix.metrics.avatars import Record, table
from stylemix.metrics.style_distance import JUDGED_SIDE
from stylemix.models.model import Model
from stylemix.tools.options import ModelChoice, marks_option, photo_model_options
from stylemix.tools.outputs import output_file
from stylemix.tools.positional import SourcesAndStyles, source_and_styles
from stylemix.training.adapt.method import read_images, some_of

PROJECTIONS = (*PRESETS, *(method for method in METHODS if method != "hybrid"))


@click.command("evaluate-style", cls=SourcesAndStyles)
@source_and_styles(
    "Photos: files, folders or zips; can be repeated.",
    "Style file or shipped style, optionally followed by :WEIGHT; can be repeated.",
)
@click.option(
    "--images", multiple=True,
    help="NAME=PATH: images of a style whose file has no statistics of its images.",
)  # fmt: skip
@click.option(
    "--method", "projections", multiple=True, type=click.Choice(PROJECTIONS), default=["balanced"],
    show_default=True, help="Preset or method of the projection; can be repeated to compare.",
)  # fmt: skip
@click.option(
    "--strength", type=float, help="Strength of all styles.  [default: as each style recommends]"
)
@photo_model_options
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("evaluation"), show_default=True,
    help="Folder for metrics, table, contact sheets and latents.",
)  # fmt: skip
@click.option("--rows", type=click.IntRange(1), default=8, show_default=True,
              help="Number of people on a contact sheet.")  # fmt: skip
@marks_option
def evaluate_style_command(
    sources: tuple[str, ...],
    styles: tuple[str, ...],
    images: tuple[str, ...],
    projections: tuple[str, ...],
    strength: float | None,
    choice: ModelChoice,
    output: Path,
    rows: int,
) -> None:
    """Measure how well avatars preserve identity and match the style.

    Every photo is projected and rendered in every style. Identity is measured by a network that no
    method optimises, style by statistics of MobileNetV2 in 256 px. Running the same command again
    reuses the stored latents.

    \b
    Examples:
      stylemix evaluate-style photos/ noir golden-hour
      stylemix evaluate-style photos.zip noir --method balanced --method pti
    """
    check_folder(output)
    folders = {method: method.replace("+", "-plus") for method in projections}
    report_file, beside = _files(output, list(folders.values()))
    network = choice.load()
    arguments = [StyleArgument.parse(text) for text in styles]
    people = _read_people(sources, network)
    evaluation = StyleEvaluation(network, arguments, strength, _references(images, network))
    report: dict[str, Record] = {}
    for method, folder in folders.items():
        done = project_missing(
            people, network, _settings(method), output / folder, replace=may_overwrite()
        )
        latents = {name: latent for name, latent, *_ in done}
        report[method], images_by_person = evaluation.measure(
            [person.portrait for person in people], [latents[person.name] for person in people],
            rows,
        )  # fmt: skip
        note(f"{method}: {len(people)} photos in {len(arguments)} styles")
        names = [person.name for person in people]
        _save_sheet(beside[folder], images_by_person, names, evaluation.names)
    peak = peak_memory()
    about: dict[str, Json] = {
        "model": network.fingerprint,
        "photos": len(people),
        "styles": list(evaluation.names),
        "peak memory MB": None if peak is None else round(peak / 2**20),
        "methods": dict(report),
    }
    write_json(report_file, about)
    text = table(report)
    write_text(beside["table"], text)
    say(text.rstrip("\n"))
    wrote_all([report_file, *beside.values()], f"{report_file}, table and sheets beside it")
    result(**about)


def _files(output: Path, methods: list[str]) -> tuple[Path, dict[str, Path]]:
    """The report, and by name the table and the sheets, all new or all with the same number."""

    def beside(report: Path) -> dict[str, Path]:
        number = report.stem.removeprefix("report")
        ends = {"table": ".md"} | dict.fromkeys(methods, ".png")
        return {name: output / f"{name}{number}{end}" for name, end in ends.items()}

    report = output_file(output / "report.json", beside=lambda path: [*beside(path).values()])
    return report, beside(report)


def _read_people(sources: tuple[str, ...], model: Model) -> list[PhotoToProject]:
    """Reads and aligns the photos; unusable photos are reported on standard error."""
    listed = list_images(sources)
    names = unique_names(source.stem for source in listed)
    people = []
    for name, source in zip(names, listed, strict=True):
        try:
            people.append(PhotoToProject(name, read_portrait(source, model)))
        except StylemixError as error:
            problem(f"Left out: {error}")
    if not people:
        raise StylemixError("got no photo that can be used; see the reasons above")
    return people


def _references(pairs: tuple[str, ...], model: Model) -> dict[str, Tensor]:
    """Images [K, C, H, W] in [-1, 1] of `--images NAME=PATH`, by name."""
    references = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if not path:
            raise StylemixError(f"got --images {pair[:60]!a}; expected NAME=PATH; add the path")
        references[name] = some_of(read_images(list_images(path), model, False, JUDGED_SIDE))
    return references


def _settings(method: str) -> ProjectionSettings:
    if method in PRESETS:
        return PRESETS[method]
    return replace(PRESETS["balanced"], method=method)


def _save_sheet(
    path: Path, images: list[list[Tensor]], people: list[str], styles: list[str]
) -> None:
    sheet = grid(
        [to_pil(image) for row in images for image in row],
        columns=len(images[0]),
        column_labels=["photo", "reconstruction", *styles],
        row_labels=people[: len(images)],
        cell=MIN_CELL,
    )
    save_image(path, sheet, generated="composite")
