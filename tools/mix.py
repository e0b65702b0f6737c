"""`stylemix mix`: a person in one or more styles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any, NamedTuple

import click
from PIL import Image

from stylemix.avatars.avatar import AvatarOptions, describe
from stylemix.avatars.finish import OutputSize, finish, parse_output_size
from stylemix.avatars.inputs import is_several, list_sources, parse_styles
from stylemix.avatars.mixer import Mixer, Person, StyleInput
from stylemix.avatars.render import AppliedStyle
from stylemix.avatars.sheets import SheetMaker
from stylemix.avatars.strengths import parse_strength
from stylemix.errors import StylemixError
from stylemix.faces.alignment import Box
from stylemix.faces.regions import REGIONS
from stylemix.images.sources import unique_names
from stylemix.images.write import check_folder, check_image_path, save_image
from stylemix.inversion.encoder import chosen_encoder
from stylemix.memory import releasing
from stylemix.messages import note, problem, wrote
from stylemix.models.model import Model
from stylemix.tools.options import (
    ModelChoice,
    cache_option,
    marks_option,
    photo_model_options,
    projection_options,
    projection_settings,
    subject_options,
)
from stylemix.tools.outputs import kept, output_file, output_in
from stylemix.tools.positional import SourcesAndStyles, source_and_styles


class Task(NamedTuple):
    """What is drawn of each person."""

    mixer: Mixer
    looks: Sequence[StyleInput]
    strength: float | None
    options: AvatarOptions
    size: OutputSize


class Sheet(NamedTuple):
    """A kind of sheet: the method that renders it, and the help text of its option."""

    draw: Callable[[SheetMaker], Image.Image]
    text: str


MIN_SHARE = 0.5  # of a style's strength, below which an avatar hardly shows it

SHEETS = {
    "grid": Sheet(
        SheetMaker.style_grid, "Write a single sheet of sources (rows) by styles (columns)."
    ),
    "strip": Sheet(
        SheetMaker.strength_strip,
        "Write a single sheet with a row for each source and style, from zero to full strength.",
    ),
    "layer-grid": Sheet(
        SheetMaker.layer_grid, "Write a single sheet of a style at every range of layers."
    ),
}


def _sheet_options(command: Any) -> Any:
    for name, sheet in reversed(SHEETS.items()):
        command = click.option(f"--{name}", is_flag=True, help=sheet.text)(command)
    return command


@click.command("mix", cls=SourcesAndStyles)
@source_and_styles(
    "Photo, latent file, seed:N or seed:N@CLASS, or a folder or zip of photos; can be repeated.",
    "Style file or shipped style, photo, folder of photos, latent file, generator file or "
    "seed:N, optionally followed by :WEIGHT; repeated styles are added.",
)
@photo_model_options
@click.option(
    "--strength",
    help="Strength of all styles, times the WEIGHT of each: a number, or a number for each band or "
    "layer, as in coarse=0,middle=.35,fine=1.  [default: as each style recommends]",
)
@click.option(
    "--layers",
    help="Layers where styles act: coarse, middle, fine, all, resolutions such as 16-64px, or "
    "numbers such as 0-3.  [default: as each style recommends]",
)
@click.option(
    "--min-identity", type=float,
    help="Minimum identity, 0 to 1: the strength is lowered until the face is this similar to the "
    "person; .6 is clearly the same person.",
)  # fmt: skip
@click.option(
    "--region", "regions", multiple=True,
    help=f"Region of the image where styles act: {', '.join(REGIONS)}, or a mask image that is "
    "white there; can be repeated.  [default: everywhere]",
)  # fmt: skip
@click.option(
    "--keep-color", type=float, default=0.0, show_default=True,
    help="Colours of the face: 0 for the style's, 1 for the person's.",
)  # fmt: skip
@_sheet_options
@click.option(
    "--output", type=click.Path(path_type=Path),
    help="Image file; a folder for several sources without a sheet.  [default: out.png, out]",
)  # fmt: skip
@click.option(
    "--output-size",
    help="photo: the whole photo; portrait: head and shoulders; crop: the aligned face; or px of "
    "that, 16 to 4096.  [default: photo for looks, which move nothing; portrait for what "
    "students draw; else 256]",
)
@click.option("--fast", is_flag=True, help="Let the students of styles draw, where they have one.")
@marks_option
@subject_options
@projection_options
@cache_option
def mix_command(
    sources: tuple[str, ...],
    styles: tuple[str, ...],
    choice: ModelChoice,
    strength: str | None,
    layers: str | None,
    min_identity: float | None,
    regions: tuple[str, ...],
    keep_color: float,
    output: Path | None,
    output_size: str | None,
    face: int | None,
    box: Box | None,
    encoder: Path | None,
    no_cache: bool,
    fast: bool,
    **others: Any,
) -> None:
    """Give a person the look of one or more styles: a personalised avatar.

    The first word is the source and the others are styles, in place of --source and --style; with
    --source all words are styles.

    \b
    Examples:
      stylemix mix me.jpg comic --output avatar.png
      stylemix mix me.jpg influencer.pkl golden-hour:0.5
      stylemix mix me.jpg toon --min-identity 0.6 --region face
      stylemix mix --source me.jpg --source you.jpg --style toon --style noir --grid
    """
    size = parse_output_size(output_size)
    sheet = _selected_sheet({name: others.pop(name.replace("-", "_")) for name in SHEETS})
    settings = projection_settings(**others)
    single = sheet is not None or (len(sources) == 1 and not is_several(sources[0]))
    output = output or Path("out.png" if single else "out")
    (check_image_path if single else check_folder)(output)
    arguments, listed = parse_styles(styles), list_sources(sources)
    inputs = [*sources, *(str(argument.what) for argument in arguments)]
    output = output_file(output, inputs) if single else output
    network = choice.load(settings=settings)
    number, by_layer = _strengths(strength, network)
    options = AvatarOptions(min_identity, regions, keep_color)
    options.check(network)
    start = chosen_encoder(encoder, network)
    mixer = Mixer(
        network, layers, face, by_layer, settings, start, cache=not no_cache, fast=fast, box=box
    )
    people, looks = mixer.read_lazily(listed, arguments, _report)
    if layers or by_layer or sheet is SheetMaker.layer_grid:
        _note_layers(looks, fast)
    task = Task(mixer, looks, number, options, size)
    if sheet is not None:
        done = _write_sheet(task, people, sheet, output)
    else:
        done = _write_avatars(task, people, output, single, inputs)
    _check_all(done, len(listed))


def _strengths(text: str | None, model: Model) -> tuple[float | None, tuple[float, ...] | None]:
    return (None, None) if text is None else parse_strength(text, model.generator.img_resolution)


def _note_layers(looks: Sequence[StyleInput], fast: bool) -> None:
    """Says which of the styles act without layers, which were asked for."""
    styles = {look.name: look.style for look in looks if look.style is not None}
    drawn = [name for name, style in styles.items() if AppliedStyle(style, fast=fast).by_student]
    if drawn:
        note(
            f"Note: layers do not matter to {', '.join(drawn)}, which students draw; for less of "
            "it give --strength one number"
        )


def _check_all(done: int, count: int) -> None:
    if done < count:
        raise StylemixError(
            f"got no avatar from {count - done} of {count} sources; expected a face in each; see "
            "the errors above"
        )


def _selected_sheet(flags: dict[str, bool]) -> Callable[[SheetMaker], Image.Image] | None:
    """The method that renders the requested sheet; raises StylemixError for several sheets."""
    names = [name for name, is_set in flags.items() if is_set]
    if len(names) > 1:
        options = " and ".join(f"--{name}" for name in names)
        raise StylemixError(f"got {options}; expected one of them; leave out the others")
    return SHEETS[names[0]].draw if names else None


def _write_sheet(
    task: Task, people: Iterator[Person], draw: Callable[[SheetMaker], Image.Image], path: Path
) -> int:
    """Writes the sheet of all people, if there are any; returns their number."""
    together = list(people)
    if together:
        maker = SheetMaker(task.mixer, together, *task[1:])
        save_image(path, draw(maker), generated="composite")
        wrote(path, people=[person.name for person in together])
    return len(together)


def _write_avatars(
    task: Task, people: Iterator[Person], output: Path, single: bool, inputs: Sequence[str]
) -> int:
    """Writes an avatar of each person as soon as it is drawn; returns their number."""
    done = 0
    for person, name in releasing(_named(people)):
        _write(task, person, output if single else output / f"{name}.png", not single, inputs)
        done += 1
    return done


def _write(task: Task, person: Person, asked: Path, in_folder: bool, inputs: Sequence[str]) -> None:
    mixer = task.mixer
    applied = mixer.apply_all(task.looks, person, task.strength)
    avatar = mixer.avatar(person, applied, task.options)
    done = finish(mixer, person, avatar, applied, task.size)
    path = output_in(asked, done.image, inputs, generated="composite") if in_folder else asked
    save_image(path, done.image, generated="composite")
    measured = "" if avatar.identity is None else describe(avatar, applied)
    styles = [
        {"name": look.name, "strength": part.amount}
        for look, part in zip(task.looks, applied, strict=True)
    ]
    wrote(
        path, "; ".join(filter(None, (done.how, measured, kept(path, asked)))), person=person.name,
        size=done.image.size, how=done.how, identity=avatar.identity, share=avatar.share,
        styles=styles,
    )  # fmt: skip
    if avatar.share < MIN_SHARE:
        note(
            f"Note: {person.name} keeps that identity only with {avatar.share:.0%} of the style; "
            "for more of it lower --min-identity"
        )


def _report(error: StylemixError) -> None:
    problem(f"Error: {error}")


def _named(people: Iterable[Person]) -> Iterator[tuple[Person, str]]:
    """People with names of files, one after the other, as they are projected."""
    people, again = tee(people)
    return zip(people, unique_names(person.name for person in again), strict=True)
