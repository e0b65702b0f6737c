"""`stylemix adapt`: a style file from images."""

from __future__ import annotations

import os
from pathlib import Path

import click

from stylemix.styles.style import Style, check_style_path, save_style
from stylemix.tools.options import device_option
from stylemix.training.adapt.adapt import (
    METHODS,
    NOT_RECORDED,
    PRECISIONS,
    AdaptSettings,
    StyleCard,
    adapt,
)
from stylemix.training.adapt.trainable import PARTS


@click.command("adapt")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path),
    help="Style file: .pkl, .stylemix or .safetensors.",
)  # fmt: skip
@click.option("--model", default="faces-64", show_default=True, help="Base: file or shipped name.")
@click.option(
    "--method", type=click.Choice(METHODS), default="auto", show_default=True,
    help="look: light, colour, make-up from a few photos; transfer: an illustrator's hand from "
    "many images; personal: one person, from some photos; jojogan: that method as it was "
    "published; auto: look or transfer, by the number of images and how far they are from the "
    "model's faces.",
)  # fmt: skip
@click.option(
    "--learn", type=click.Choice(PARTS),
    help="What of the generator look and transfer change: the more, the more images it takes.  "
    "[default: as the images suggest]",
)  # fmt: skip
@click.option(
    "--align/--no-align", default=None,
    help="Cut out and align faces.  [default: not for transfer]",
)  # fmt: skip
@click.option(
    "--start", help="Style that look and transfer go on from, or none.  [default: for few drawings "
    "the nearest shipped hand]",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(1),
    help="Steps, but for transfer.  [default: look 250, personal 200, jojogan 300]",
)  # fmt: skip
@click.option(
    "--sparse", type=click.FloatRange(0, 1, min_open=True),
    help="Share of the offsets that a look keeps, the largest.  [default: 1]",
)  # fmt: skip
@click.option(
    "--kimg", type=click.FloatRange(0.001), help="Thousand images of transfer.  [default: 30]"
)
@click.option("--strength", type=float, default=1.0, show_default=True, help="To recommend.")
@click.option(
    "--layers", help="To recommend: all, coarse, middle, fine, 16-64px, ...  [default: those that "
    "score best]",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True,
    help="Precision of transfer; bf16 is faster where the processor has it.",
)  # fmt: skip
@click.option("--name", help="Name of the style.  [default: that of the output]")
@click.option("--license", "licence", default="unknown", show_default=True, help="Of the images.")
@click.option("--credit", default="", help="Whom to credit.")
@click.option("--consent", default=NOT_RECORDED, show_default=True,
              help="How persons in the images agreed.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@device_option
def adapt_command(
    images: tuple[Path, ...],
    output: Path,
    model: str,
    method: str,
    learn: str | None,
    start: str | None,
    align: bool | None,
    steps: int | None,
    sparse: float | None,
    kimg: float | None,
    strength: float,
    layers: str | None,
    precision: str,
    name: str | None,
    licence: str,
    credit: str,
    consent: str,
    seed: int,
    device: str,
) -> None:
    """Make a style file from images of a style: files, folders or zips.

    A transfer that was stopped is continued by the same command. The file holds no images.

    \b
    Examples:
      stylemix adapt look1.jpg look2.jpg look3.jpg --output influencer.pkl
      stylemix adapt cartoons.zip --output toon.pkl --license "CC BY 4.0" --credit "A. Painter"
    """
    check_style_path(output)
    state = output.with_name(output.name + ".state")
    style = adapt(
        images,
        AdaptSettings(method, learn, start, align, steps, sparse, kimg, precision, seed),
        model=model,
        card=StyleCard(name or output.stem, licence, credit, consent),
        strength=strength,
        layers=layers,
        state=state,
        device=device,
        progress=True,
        on_plan=lambda plan: click.echo(plan, err=True),
    )
    save_style(output, style)
    state.unlink(missing_ok=True)
    click.echo(f"Wrote {output} ({_describe(output, style)})")


def _describe(output: Path, style: Style) -> str:
    """Method, number of images, size of the file and scores."""
    scores = style.info["scores"]
    assert isinstance(scores, dict)
    values = [f"{key} {value}" for key, value in scores.items()]
    size = f"{os.path.getsize(output) / 1000:.0f} KB"
    return ", ".join([f"{style.info['method']}, {style.info['pictures']} images", size, *values])
