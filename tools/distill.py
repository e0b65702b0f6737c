"""`stylemix distill`: a small network that redraws photos in a style."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
import torch

from stylemix.devices import find_device
from stylemix.errors import MAX_SEED, StylemixError
from stylemix.faces.caricature import Shape
from stylemix.io.atomic import Json
from stylemix.messages import current, result, wrote
from stylemix.metrics.style_distance import image_statistics
from stylemix.models.checkpoint import load_model
from stylemix.networks.student import Student
from stylemix.progress import progress_bar
from stylemix.styles.style import Style, check_style_path, load_style, save_style
from stylemix.tools.options import device_option, model_option
from stylemix.tools.outputs import output_file
from stylemix.training.adapt.adapt import StyleCard
from stylemix.training.adapt.distill import DistillSettings, learn_student
from stylemix.training.adapt.student_pairs import generated_pairs, photo_pairs
from stylemix.training.adapt.student_training import PRECISIONS
from stylemix.version import __version__

MAX_EXAMPLES = 256  # drawings whose statistics are stored


@click.command("distill")
@click.argument("style", required=False)
@click.option("--output", required=True, type=click.Path(path_type=Path),
              help="Style file to write: .safetensors, .stylemix or .pkl.")  # fmt: skip
@click.option(
    "--pairs", nargs=2, type=click.Path(path_type=Path), metavar="PHOTOS DRAWINGS",
    help="Folders of photos and of their drawings with the same names, instead of STYLE.",
)  # fmt: skip
@click.option("--faces", type=click.IntRange(4, 20000), default=1000, show_default=True,
              help="Faces that the model draws for the student of STYLE.")  # fmt: skip
@click.option(
    "--start", default="comic", show_default=True,
    help="Style whose student is trained further, or none for a new one.",
)  # fmt: skip
@click.option(
    "--kimg", type=click.FloatRange(0.001), default=DistillSettings.kimg, show_default=True,
    help="Training length in thousand parts of photos.",
)  # fmt: skip
@click.option("--eyes", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="How much larger eyes are drawn, 0 to 1.")  # fmt: skip
@click.option("--jaw", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="How much narrower the jaw is drawn, 0 to 1.")  # fmt: skip
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True,
    help="Precision of training; bf16 is faster on processors that support it.",
)  # fmt: skip
@click.option("--name", help="Name of the style.  [default: name of the output file]")
@click.option(
    "--license", "licence",
    help="Licence of the drawings.  [default: that of STYLE; unknown for --pairs]",
)  # fmt: skip
@click.option(
    "--credit", help="Credit: author of the drawings.  [default: that of STYLE; empty for --pairs]",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True,
              help="Random seed.")  # fmt: skip
@model_option
@device_option
def distill_command(
    style: str | None,
    output: Path,
    pairs: tuple[Path, Path] | None,
    faces: int,
    start: str,
    kimg: float,
    eyes: float,
    jaw: float,
    precision: str,
    name: str | None,
    licence: str | None,
    credit: str | None,
    seed: int,
    model: str,
    device: str,
) -> None:
    """Train a student of a style: a small network that redraws a photo in one pass.

    The student is added to a copy of STYLE, for stylemix mix --fast; from pairs it is a style of
    its own. The same command resumes a training that was interrupted.

    \b
    Examples:
      stylemix distill influencer.pkl --output influencer-fast.safetensors
      stylemix distill --pairs photos/ drawings/ --output comic.safetensors --credit "A. Painter"
    """
    if (style is None) == (pairs is None):
        raise StylemixError("got a style and --pairs, or neither; expected one of them; add one")
    check_style_path(output)
    output = output_file(output, [*([style] if style else pairs or ()), model, start])
    started, network = time.monotonic(), load_model(model, find_device(device))
    beginning = _start(start)
    if style is not None:
        learned = load_style(style, network)
        with progress_bar("Drawing faces", "face", leave=False) as report:
            photos, drawings = generated_pairs(network, learned, faces, seed, report)
    else:
        assert pairs is not None
        learned = Style(network.fingerprint, info={"method": "student", **StyleCard().info()})
        with progress_bar("Reading pairs", "pair", leave=False) as report:
            photos, drawings = photo_pairs(*pairs, report)
    settings = DistillSettings(kimg=kimg, precision=precision, seed=seed)
    state = current().state = output.with_name(output.name + ".state")
    with progress_bar("Training") as report:
        learned.student = learn_student(
            photos, drawings, settings, beginning, state, network.generator.device, report
        )
    learned.shape = Shape(eyes, jaw)
    if learned.statistics is None:
        learned.statistics = drawing_statistics(drawings)
    about: dict[str, Json] = {"pairs": len(photos), "kimg": kimg, "seed": seed}
    about |= {"seconds": round(time.monotonic() - started), "tool": f"stylemix {__version__}"}
    card = _card(name or output.stem, licence, credit)
    learned.info = {**learned.info, **card, "student": about}
    save_style(output, learned)
    state.unlink(missing_ok=True)
    size = os.path.getsize(output)
    wrote(output, f"{len(photos)} pairs, {size / 1000:.0f} KB", bytes=size)
    result(pairs=len(photos), kimg=kimg, base=network.fingerprint)


def _start(name: str) -> Student | None:
    """The student of a style; None for "none"."""
    if name == "none":
        return None
    student = load_style(name).student
    if student is None:
        raise StylemixError(
            f"got --start {name}, a style without a student; expected one that has it; name "
            "another, or none"
        )
    return student


def _card(name: str, licence: str | None, credit: str | None) -> dict[str, Json]:
    """What is said about a style in place of what is known of it."""
    card = {"name": name, "licence": licence, "credit": credit}
    return {key: value for key, value in card.items() if value is not None}


def drawing_statistics(drawings: torch.Tensor) -> torch.Tensor:
    """The mean `image_statistics` [S] of drawings [N, 3, H, W] in 0..255."""
    some = drawings[:: max(1, len(drawings) // MAX_EXAMPLES)].float() / 127.5 - 1
    return image_statistics(some).mean(dim=0)
