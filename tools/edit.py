"""`stylemix edit`: change the expression, pose or light of a photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from PIL import Image

from stylemix.avatars.finish import OutputSize, finish, parse_output_size, photos_follow
from stylemix.avatars.inputs import added, check_source
from stylemix.avatars.mixer import MIN_CELL, Mixer, Person, direction_styles
from stylemix.avatars.render import AppliedStyle, merged
from stylemix.errors import StylemixError
from stylemix.faces.alignment import Box
from stylemix.images.contact_sheet import grid
from stylemix.images.write import check_image_path, save_image
from stylemix.inversion.encoder import chosen_encoder
from stylemix.messages import note, result, wrote
from stylemix.styles.named_directions import READINGS
from stylemix.styles.style import check_style_path, save_style
from stylemix.tools.options import (
    ModelChoice,
    cache_option,
    marks_option,
    photo_model_options,
    projection_options,
    projection_settings,
    strengths_of,
    subject_options,
)
from stylemix.tools.outputs import output_file

MIN_CHANGE = 0.004  # mean absolute change, in parts of the range, that one can see
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # shares of the strength in a strip


def _reading_options(command: Any) -> Any:
    texts = {
        "smile": "Smile more; negative: less.",
        "yaw": "Turn the head to the viewer's right; negative: left.",
        "pitch": "Lower the head; negative: raise it.",
        "mouth": "Open the mouth; negative: close it.",
        "light": "Light from the viewer's right; negative: left.",
    }
    for name in reversed(READINGS):
        command = click.option(f"--{name}", type=float, help=texts[name])(command)
    return command


@click.command("edit")
@click.argument("source")
@_reading_options
@click.option(
    "--direction", "directions", multiple=True,
    help="Another direction as NAME:STRENGTH: smile-channels, channel-LAYER-N, sefa-N, pca-N or a "
    "style file; can be repeated.",
)  # fmt: skip
@click.option(
    "--strip",
    is_flag=True,
    help="Write a sheet with a row for each direction, from minus to plus its strength.",
)
@click.option("--layers", help="Layers where directions act, as for mix.  [default: by direction]")
@photo_model_options
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("edited.png"), show_default=True,
    help="Image file to write.",
)  # fmt: skip
@click.option(
    "--save-style", "style_file", type=click.Path(path_type=Path),
    help="Also save the edit as a style file.",
)  # fmt: skip
@click.option(
    "--output-size",
    help="photo: the whole photo; portrait: head and shoulders; crop: the aligned face; or px of "
    "that, 16 to 4096.  [default: photo for photos; else 256]",
)
@marks_option
@subject_options
@projection_options
@cache_option
def edit_command(
    source: str,
    directions: tuple[str, ...],
    strip: bool,
    layers: str | None,
    choice: ModelChoice,
    output: Path,
    style_file: Path | None,
    output_size: str | None,
    face: int | None,
    box: Box | None,
    encoder: Path | None,
    no_cache: bool,
    **options: Any,
) -> None:
    """Change expression, pose or light of a photo, a latent or seed:N.

    A strength of 1 is one standard deviation of the model's faces; up to 2 looks natural. The
    photo itself makes the movement, at its own resolution.

    \b
    Examples:
      stylemix edit photo.jpg --smile 2
      stylemix edit me.latent.safetensors --yaw -2 --light 1 --output turned.png
      stylemix edit photo.jpg --direction smile-channels:1
      stylemix edit photo.jpg --direction sefa-0:3 --direction channel-b8.conv0-172:6 --strip
    """
    check_source(source)
    check_image_path(output)
    wanted = _output_size(output_size, strip)
    inputs = [source, *directions, choice.name]
    output = output_file(output, inputs)
    readings = {name: options.pop(name) for name in READINGS}
    amounts = {name: value for name, value in readings.items() if value is not None}
    amounts = added(amounts, strengths_of(directions))
    settings = projection_settings(**options)
    if style_file is not None:
        check_style_path(style_file)
        style_file = output_file(style_file, inputs)
    network = choice.load(settings=settings)
    start = chosen_encoder(encoder, network)
    mixer = Mixer(network, layers, face, None, settings, start, cache=not no_cache, box=box)
    applied = direction_styles(mixer, amounts)
    together = merged(mixer.generator, mixer.base, applied) if style_file is not None else None
    (person,), _ = mixer.read([source], [])
    if strip:
        image, how = _strip(mixer, person, applied, list(amounts), wanted), ""
    else:
        image, how = _draw(mixer, person, applied, wanted)
    save_image(output, image, generated="composite")
    wrote(output, how)
    change = (mixer.draw(person, applied) - mixer.draw(person)).abs().mean() / 2
    if change < MIN_CHANGE:
        note("Note: this edit changes almost nothing; raise its strength")
    result(strengths=amounts, change=float(change))
    if style_file is not None and together is not None:
        if all(part.is_edit for part in applied):
            together.info = {"method": "direction"}
        save_style(style_file, together)
        wrote(style_file)


def _output_size(text: str | None, strip: bool) -> OutputSize:
    size = parse_output_size(text)
    if strip and isinstance(size, str):
        raise StylemixError(f"got the output size {size} for a sheet; expected px; change it")
    return size


def _draw(
    mixer: Mixer, person: Person, applied: list[AppliedStyle], size: OutputSize
) -> tuple[Image.Image, str]:
    """The edited image, and how it was made."""
    done = finish(mixer, person, mixer.avatar(person, applied), applied, size)
    if person.photo is not None and not done.on_photo:
        why = "; lower its strength"
        if not photos_follow(mixer.model):
            why = ", as with every model of anything but coloured faces"
        note(f"Note: the photo cannot follow this edit, so the model drew the image{why}")
    return done.image, done.how


def _strip(
    mixer: Mixer,
    person: Person,
    applied: list[AppliedStyle],
    names: list[str],
    size: OutputSize,
) -> Image.Image:
    """A sheet of directions (rows), from minus to plus their strength (columns)."""
    cell = size if isinstance(size, int) else max(mixer.generator.config.longer_side, MIN_CELL)
    images = []
    for part in applied:
        for step in STEPS:
            parts = [replace(part, strength=step * part.amount)]
            images.append(finish(mixer, person, mixer.avatar(person, parts), parts, cell).image)
    return grid(
        images,
        columns=len(STEPS),
        column_labels=[f"{step:+g} x" if step else "0" for step in STEPS],
        row_labels=[f"{n} {part.amount:g}" for n, part in zip(names, applied, strict=True)],
        cell=cell,
    )
