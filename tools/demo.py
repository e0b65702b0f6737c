"""`stylemix demo`: alignment, projection and avatars of a shipped portrait."""

from __future__ import annotations

import time
from pathlib import Path

import click

from stylemix.avatars.finish import finish
from stylemix.avatars.mixer import Mixer
from stylemix.avatars.render import AppliedStyle
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import resize, to_pil
from stylemix.images.write import check_image_path, save_image
from stylemix.io.assets import ASSETS
from stylemix.models.checkpoint import load_model
from stylemix.styles.style import load_style, shipped_styles

DEFAULT = "faces-64"
PORTRAIT = ASSETS / "portrait.jpg"
CELL = 256  # px of an image on the sheet


@click.command("demo")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="A photo to use instead of the shipped portrait.",
)
@click.option(
    "--face",
    type=click.IntRange(1),
    help="Which face of a photo with several faces; 1 is the largest.",
)
@click.option("--model", default=DEFAULT, show_default=True, help="Model file or shipped name.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("demo.png"), show_default=True,
    help="Image file to write.",
)  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def demo_command(
    source: Path | None, face: int | None, model: str, output: Path, device: str
) -> None:
    """Show every step on a shipped portrait: aligned face, reconstruction and avatars.

    \b
    Examples:
      stylemix demo
      stylemix demo --source me.jpg --output me-in-styles.png
    """
    started = time.monotonic()
    check_image_path(output)
    network = load_model(model, find_device(device))
    shipped = {name: load_style(name) for name in shipped_styles()}
    styles = {name: s for name, s in shipped.items() if s.base == network.fingerprint}
    if not styles:
        raise StylemixError(
            f"got the model {model} without shipped styles; expected {DEFAULT}; leave out --model, "
            "or make a style with stylemix adapt and use stylemix mix"
        )
    mixer = Mixer(network, face=face)
    (person,), _ = mixer.read([str(source or PORTRAIT)], [])
    assert person.photo is not None
    cells = [person.photo.alignment.crop, to_pil(mixer.draw(person))]
    for style in styles.values():
        avatar = mixer.draw(person, [AppliedStyle(style)])
        cells.append(finish(mixer, person, avatar, CELL).image)
    labels = ["photo, aligned", "reconstruction", *styles]
    sheet = grid(
        [resize(cell, CELL) for cell in cells], columns=len(cells), labels=labels, cell=CELL
    )
    save_image(output, sheet, generated="composite")
    click.echo(f"Wrote {output} in {time.monotonic() - started:.0f} s")
