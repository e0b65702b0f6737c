"""`stylemix demo`: shipped portraits in all shipped styles."""

from __future__ import annotations

import time
from pathlib import Path

import click

from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import Mixer
from stylemix.avatars.sheets import SheetMaker
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.images.write import check_image_path, save_image
from stylemix.inversion.settings import preset_settings
from stylemix.io.assets import ASSETS
from stylemix.messages import result, wrote
from stylemix.models.checkpoint import load_model
from stylemix.models.loading import DEFAULT_MODEL
from stylemix.styles.style import fits, load_style, shipped_styles
from stylemix.tools.options import (
    cache_option,
    device_option,
    face_option,
    marks_option,
    model_option,
)
from stylemix.tools.outputs import output_file

PORTRAITS = ASSETS / "portraits"


@click.command("demo")
@click.argument("photo", required=False, type=click.Path(path_type=Path))
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="A photo to use instead of the shipped portraits, as PHOTO.",
)
@face_option
@model_option
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("demo.png"), show_default=True,
    help="Image file to write.",
)  # fmt: skip
@cache_option
@device_option
@marks_option
def demo_command(
    photo: Path | None,
    source: Path | None,
    face: int | None,
    model: str,
    output: Path,
    no_cache: bool,
    device: str,
) -> None:
    """Show shipped portraits, or a photo, in every shipped style.

    \b
    Examples:
      stylemix demo
      stylemix demo me.jpg --output me-in-styles.png
    """
    started = time.monotonic()
    if photo is not None and source is not None:
        raise StylemixError("got a photo and --source; expected one of them; leave one out")
    source = source or photo
    check_image_path(output)
    output = output_file(output, [source] if source else [])
    network = load_model(model, find_device(device))
    names = [name for name in shipped_styles() if fits(load_style(name), network)]
    if not names:
        raise StylemixError(
            f"got the model {model} without shipped styles; expected {DEFAULT_MODEL}; leave out "
            "--model, or make a style with stylemix adapt and use stylemix mix"
        )
    mixer = Mixer(network, face=face, settings=preset_settings("fast"), cache=not no_cache)
    sources = [str(source)] if source else [str(path) for path in sorted(PORTRAITS.glob("*.jpg"))]
    people, styles = mixer.read(sources, [StyleArgument(name) for name in names])
    sheet = SheetMaker(mixer, people, styles, size="portrait").style_grid()
    save_image(output, sheet, generated="composite")
    wrote(output, f"{time.monotonic() - started:.0f} s")
    result(people=[person.name for person in people], styles=names)
