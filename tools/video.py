"""`stylemix video`: interpolate between people and styles, and along directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from stylemix.avatars.animation import EASINGS, MAX_FPS, Timing, read_animation
from stylemix.avatars.inputs import list_sources, parse_styles
from stylemix.avatars.mixer import Mixer
from stylemix.faces.alignment import Box
from stylemix.images.video import check_video_path, save_video
from stylemix.inversion.encoder import chosen_encoder
from stylemix.messages import result, wrote
from stylemix.progress import track
from stylemix.tools.options import (
    ModelChoice,
    cache_option,
    marks_option,
    photo_model_options,
    projection_options,
    projection_settings,
    size_option,
    strengths_of,
    subject_options,
)
from stylemix.tools.outputs import output_file
from stylemix.tools.positional import SourcesAndAnyStyles, source_and_styles


@click.command("video", cls=SourcesAndAnyStyles)
@source_and_styles(
    "Photo, latent file, seed:N or seed:N@CLASS, or a folder or zip of photos; repeat to go from "
    "person to person.",
    "Style, as for mix, optionally followed by :WEIGHT; repeat to go from style to style.",
)
@click.option(
    "--direction", "directions", multiple=True,
    help="Direction as NAME:STRENGTH, as for edit, between minus and plus the strength; repeated "
    "directions are added.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("out.webp"), show_default=True,
    help="Video file to write: .webp, .gif, .png (APNG), or .mp4 (needs the extra `video`).",
)  # fmt: skip
@click.option(
    "--seconds",
    type=float,
    default=2.0,
    show_default=True,
    help="Seconds from each keyframe to the next.",
)
@click.option(
    "--hold", type=float, default=0.5, show_default=True,
    help="Seconds that each keyframe is held.",
)  # fmt: skip
@click.option(
    "--fps", type=click.IntRange(1, MAX_FPS), default=25, show_default=True,
    help="Frames per second.",
)  # fmt: skip
@click.option(
    "--easing", type=click.Choice(list(EASINGS)), default="smooth", show_default=True,
    help="Interpolation between keyframes: smooth (slow at both ends) or linear.",
)  # fmt: skip
@click.option(
    "--no-loop/--loop", "once", default=False, show_default=True,
    help="End at the last keyframe, or return to the first and repeat forever.",
)  # fmt: skip
@click.option(
    "--strength", type=float,
    help="Strength of all styles, times the WEIGHT of each.  [default: as each style recommends]",
)  # fmt: skip
@click.option(
    "--layers",
    help="Layers where styles and directions act, as for mix.  [default: by style or direction]",
)
@size_option("512 for photos; else the model's, at least 256")
@photo_model_options
@marks_option
@subject_options
@projection_options
@cache_option
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
    choice: ModelChoice,
    face: int | None,
    box: Box | None,
    encoder: Path | None,
    no_cache: bool,
    **projection: Any,
) -> None:
    """Make a video that changes the person, the style or the pose.

    \b
    The k-th keyframe shows the k-th source in the k-th style; the shorter list repeats.
    A single source in a single style fades between no style and full strength.

    \b
    Examples:
      stylemix video me.jpg toon --output avatar.webp
      stylemix video --source me.jpg --source you.jpg --style noir --output us.mp4
      stylemix video me.jpg toon --direction yaw:2 --output turning.gif
    """
    check_video_path(output, fps)
    settings, timing = (
        projection_settings(**projection),
        Timing(seconds, hold, fps, not once, easing),
    )
    listed, arguments = list_sources(sources), parse_styles(styles)
    output = output_file(output, [*sources, *(str(argument.what) for argument in arguments)])
    network = choice.load(settings=settings)
    start = chosen_encoder(encoder, network)
    mixer = Mixer(network, layers, face, None, settings, start, cache=not no_cache, box=box)
    amounts = strengths_of(directions)
    animation = read_animation(mixer, listed, arguments, amounts, timing, strength, size)
    total = len(animation.times)
    images = track(animation.images(), "Rendering", total, "frame", leave=False)
    save_video(output, images, animation.lengths, fps, repeat=not once)
    frames = sum(animation.lengths)
    wrote(output, f"{frames} frames, {frames / fps:.3g} s", frames=frames, duration=frames / fps)
    result(sources=len(listed), styles=list(styles), directions=amounts)
