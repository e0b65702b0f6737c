"""`stylemix video`: from person to person, from style to style, and along directions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from PIL import Image
from tqdm import tqdm

from stylemix.avatars.animation import EASINGS, Keyframe, Moment, check_times, draw, moments, plan
from stylemix.avatars.inputs import StyleArgument, list_sources
from stylemix.avatars.mixer import Mixer, enlarge
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.images.tensors import to_pil
from stylemix.images.video import check_video_path, save_video
from stylemix.models.checkpoint import load_model
from stylemix.styles.named_directions import find_directions
from stylemix.styles.style import check_strength


@click.command("video")
@click.option(
    "--source", "sources", multiple=True, required=True,
    help="Photo, latent file, seed:N, or a folder or zip of photos; again to go from person to "
    "person.",
)  # fmt: skip
@click.option(
    "--style", "styles", multiple=True,
    help="Style, as for mix, with :WEIGHT behind it if wanted; again to go from style to style.",
)  # fmt: skip
@click.option(
    "--direction", "directions", multiple=True,
    help="NAME:STRENGTH, as for edit, to and fro from minus to plus; again to add directions.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("out.webp"), show_default=True,
    help="Video: .webp, .gif, .png (APNG), or .mp4 with the extra video.",
)  # fmt: skip
@click.option(
    "--seconds", type=float, default=2.0, show_default=True, help="From one keyframe to the next."
)
@click.option(
    "--hold", type=float, default=0.5, show_default=True,
    help="Seconds that each keyframe stays.",
)  # fmt: skip
@click.option("--fps", type=click.IntRange(1, 60), default=25, show_default=True, help="Frames/s.")
@click.option(
    "--easing", type=click.Choice(list(EASINGS)), default="smooth", show_default=True,
    help="Slow at both ends, or evenly.",
)  # fmt: skip
@click.option(
    "--no-loop/--loop", "once", default=False, show_default=True,
    help="Once, or back to the first keyframe and on for ever.",
)  # fmt: skip
@click.option(
    "--strength", type=float,
    help="Strength of all styles, times the WEIGHT of each.  [default: each style's own]",
)  # fmt: skip
@click.option(
    "--layers", help="Where styles and directions act, as for mix.  [default: each one's own]"
)
@click.option("--size", type=click.IntRange(16, 4096), help="Longer side of the output in px.")
@click.option("--model", default="faces-64", show_default=True, help="Model file or shipped name.")
@click.option("--face", type=click.IntRange(1), help="Which of several faces, largest first.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def video_command(
    sources: tuple[str, ...],
    styles: tuple[str, ...],
    directions: tuple[str, ...],
    output: Path,
    seconds: float,
    hold: float,
    fps: int,
    easing: str,
    once: bool,
    strength: float | None,
    layers: str | None,
    size: int | None,
    model: str,
    face: int | None,
    device: str,
) -> None:
    """Film a change: from person to person, into a style, along a direction.

    \b
    The k-th keyframe shows the k-th source in the k-th style; the shorter list starts over.
    One source and one style: the style comes and goes.

    \b
    Examples:
      stylemix video --source me.jpg --style toon --output avatar.webp
      stylemix video --source me.jpg --source you.jpg --style noir --output us.mp4
      stylemix video --source me.jpg --style toon --direction yaw:2 --output turning.gif
    """
    check_video_path(output, fps)
    people = list_sources(sources)
    if len(people) < 2 and not styles and not directions:
        raise StylemixError(
            "got one source and nothing that changes; expected another --source, a --style or a "
            "--direction; give one"
        )
    wanted, moves = [StyleArgument.parse(text) for text in styles], _strengths(directions)
    for amount in [*moves.values(), *([] if strength is None else [strength])]:
        check_strength(amount)
    check_times(seconds, hold)
    mixer = Mixer(load_model(model, find_device(device)), layers, face)
    found = find_directions(mixer.model, list(moves))
    names = mixer.read(people, [item.what for item in wanted])
    keys = plan(mixer, names, wanted, {n: (s, moves[n]) for n, s in found.items()}, strength)
    times = moments(len(keys), fps, seconds, hold, not once, easing)
    lengths = [moment.frames for moment in times]
    save_video(output, _pictures(mixer, keys, times, size), lengths, fps, repeat=not once)
    click.echo(f"Wrote {output} ({sum(lengths)} frames, {sum(lengths) / fps:.3g} s)")


def _strengths(directions: tuple[str, ...]) -> dict[str, float]:
    items = [StyleArgument.parse(text) for text in directions]
    return {item.what: 1.0 if item.weight is None else item.weight for item in items}


def _pictures(
    mixer: Mixer, keys: list[Keyframe], times: list[Moment], size: int | None
) -> Iterator[Image.Image]:
    drawn = draw(mixer, keys, times)
    for image in tqdm(drawn, "Drawing", len(times), unit="frame", disable=None, leave=False):
        yield enlarge(to_pil(image), size)
