"""`stylemix edit`: a photo with another expression, pose or light."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from PIL import Image

from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import SMALLEST_CELL, Mixer, enlarge
from stylemix.avatars.render import AppliedStyle
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import to_pil
from stylemix.images.write import check_image_path, save_image
from stylemix.inversion.latent import Latent
from stylemix.models.checkpoint import load_model
from stylemix.styles.named_directions import READINGS, find_directions
from stylemix.styles.style import check_strength, check_style_path, combine, save_style

STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # of a strip, times the strength


def _reading_options(command: Any) -> Any:
    texts = {
        "smile": "More of a smile, or with a negative number less.",
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
    "--direction", "others", multiple=True,
    help="Another direction, as NAME:STRENGTH: smile-channels, channel-LAYER-N, sefa-N, pca-N or "
    "a style file; again for more.",
)  # fmt: skip
@click.option("--strip", is_flag=True, help="A row for each direction, from less to more.")
@click.option("--layers", help="Where directions act, as for mix.  [default: each one's own]")
@click.option("--model", default="faces-64", show_default=True, help="Model file or shipped name.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("edited.png"), show_default=True,
    help="Picture.",
)  # fmt: skip
@click.option(
    "--save-style", "style_file", type=click.Path(path_type=Path),
    help="Save what was done as a style file, too.",
)  # fmt: skip
@click.option("--size", type=click.IntRange(16, 4096), help="Longer side of the output in px.")
@click.option("--face", type=click.IntRange(1), help="Which of several faces, largest first.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def edit_command(
    source: str,
    others: tuple[str, ...],
    strip: bool,
    layers: str | None,
    model: str,
    output: Path,
    style_file: Path | None,
    size: int | None,
    face: int | None,
    device: str,
    **amounts: float | None,
) -> None:
    """Change expression, pose or light of a photo, a latent or seed:N.

    A strength of 1 is one standard deviation of what the model knows; up to 3 looks natural.

    \b
    Examples:
      stylemix edit photo.jpg --smile 2
      stylemix edit me.latent.safetensors --yaw -2 --light 1 --output turned.png
      stylemix edit photo.jpg --direction smile-channels:1
      stylemix edit photo.jpg --direction sefa-0:3 --direction channel-b8.conv0-172:6 --strip
    """
    check_image_path(output)
    wanted = {name: amount for name, amount in amounts.items() if amount is not None}
    for text in others:
        item = StyleArgument.parse(text)
        wanted[item.what] = 1.0 if item.weight is None else item.weight
    for amount in wanted.values():
        check_strength(amount)
    if not wanted:
        raise StylemixError(
            "got nothing to change; expected --smile, --yaw, --pitch, --mouth, --light or "
            "--direction with a number; give one"
        )
    if style_file is not None:
        check_style_path(style_file)
    mixer = Mixer(load_model(model, find_device(device)), layers, face)
    styles = find_directions(mixer.model, list(wanted))
    mixer.read([source], [])
    parts = [AppliedStyle(styles[name], wanted[name], layers) for name in wanted]
    person = mixer.people[source]
    if strip:
        picture = _strip(mixer, person, parts, list(wanted), size)
    else:
        picture = enlarge(to_pil(mixer.show(person, parts)), size)
    save_image(output, picture, generated="composite")
    click.echo(f"Wrote {output}")
    if style_file is not None:
        total = combine(mixer.base, [(styles[name], wanted[name]) for name in wanted])
        save_style(style_file, total)
        click.echo(f"Wrote {style_file}")


def _strip(
    mixer: Mixer, person: Latent, parts: list[AppliedStyle], names: list[str], size: int | None
) -> Image.Image:
    """Rows are directions by themselves, columns go from minus to plus their strength."""
    pictures = []
    for part in parts:
        amounts = [step * (part.strength or 0.0) for step in STEPS]
        own = [AppliedStyle(part.style, amount, part.layers) for amount in amounts]
        pictures += [to_pil(mixer.show(person, [one])) for one in own]
    return grid(
        pictures,
        columns=len(STEPS),
        column_labels=[f"{step:+g} x" if step else "0" for step in STEPS],
        row_labels=[f"{n} {p.strength:g}" for n, p in zip(names, parts, strict=True)],
        cell=size or max(mixer.generator.config.height, SMALLEST_CELL),
    )
