"""`stylemix drag`: pull points of a face to other places."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from stylemix.avatars.drag import MAX_STEPS, STEPS, Point, check_points, nearest, read_drag
from stylemix.avatars.inputs import check_source
from stylemix.avatars.mixer import Mixer
from stylemix.errors import StylemixError
from stylemix.faces.alignment import Box
from stylemix.images.write import check_image_path, save_image
from stylemix.inversion.encoder import chosen_encoder
from stylemix.inversion.latent import save_latent
from stylemix.io.outputs import LATENT_SUFFIX
from stylemix.messages import note, result, wrote
from stylemix.tools.options import (
    ModelChoice,
    cache_option,
    marks_option,
    photo_model_options,
    projection_options,
    projection_settings,
    size_option,
    subject_options,
)
from stylemix.tools.outputs import output_file

NUMBER = r"\s*(-?\d{1,6}(?:\.\d{0,9})?)\s*"
POINT = re.compile(f"{NUMBER},{NUMBER}:{NUMBER},{NUMBER}")


@click.command("drag")
@click.argument("source")
@click.option(
    "--point", "points", multiple=True, required=True,
    help="A handle and its target as X,Y:X,Y, in px of the model's image from its upper left "
    "corner; can be repeated.",
)  # fmt: skip
@click.option(
    "--mask",
    help="What may change: an image, white where it may; or face, skin, hair or background.  "
    "[default: everything]",
)
@click.option(
    "--max-steps", type=click.IntRange(1, MAX_STEPS), default=STEPS, show_default=True,
    help="Most steps; fewer are made if all handles arrive.",
)  # fmt: skip
@photo_model_options
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("dragged.png"), show_default=True,
    help="Image file to write; the latent file is written beside it.",
)  # fmt: skip
@size_option("256")
@marks_option
@subject_options
@projection_options
@cache_option
def drag_command(
    source: str,
    points: tuple[str, ...],
    mask: str | None,
    max_steps: int,
    choice: ModelChoice,
    output: Path,
    size: int | None,
    face: int | None,
    box: Box | None,
    encoder: Path | None,
    no_cache: bool,
    **options: Any,
) -> None:
    """Drag points of a photo, a latent or seed:N to other places.

    Writes the image, and the latent file beside it, with which mix, edit and video go on.

    \b
    Examples:
      stylemix drag seed:3 --point 30,40:36,40
      stylemix drag photo.jpg --point 22,46:20,43 --point 42,46:44,43 --mask face
      stylemix drag me.latent.safetensors --point 32,60:32,56 --output chin.png
    """
    check_image_path(output)
    output = output_file(output, [source], lambda path: [_latent_file(path)])
    pairs = [parse_point(text) for text in points]
    settings = projection_settings(**options)
    check_source(source)
    network = choice.load(settings=settings)
    check_points(pairs, network.generator.config)
    start = chosen_encoder(encoder, network)
    mixer = Mixer(network, None, face, None, settings, start, cache=not no_cache, box=box)
    done = nearest(read_drag(mixer, source, pairs, mask, max_steps), max_steps, True)
    save_image(output, done.image(size), generated="composite")
    wrote(output)
    latent_file = _latent_file(output)
    save_latent(latent_file, done.latent)
    wrote(latent_file)
    result(distances=list(done.distances), tolerance=done.tolerance)
    for text, distance in zip(points, done.distances, strict=True):
        if distance > done.tolerance:
            note(
                f"Note: the handle of {text} stopped {distance:.1f} px from its target, which this "
                "model may be unable to show; try a nearer target, or a larger mask"
            )


def _latent_file(image: Path) -> Path:
    return image.with_name(image.stem + LATENT_SUFFIX)


def parse_point(text: str) -> tuple[Point, Point]:
    """A handle and its target from X,Y:X,Y; StylemixError for any other text."""
    match = POINT.fullmatch(text)
    if match is None:
        raise StylemixError(
            f"got the point {text[:40]!a}; expected a handle and its target as X,Y:X,Y, as in "
            "30,40:36,40; change --point"
        )
    x0, y0, x1, y1 = (float(number) for number in match.groups())
    return (x0, y0), (x1, y1)
