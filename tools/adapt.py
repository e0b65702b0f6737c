"""`stylemix adapt`: a style file from images."""

from __future__ import annotations

import os
from pathlib import Path

import click

from stylemix.errors import MAX_SEED, StylemixError
from stylemix.images.write import save_image
from stylemix.inversion.latent import NOT_RECORDED
from stylemix.messages import current, note, result, say, wrote
from stylemix.models.model import Model
from stylemix.styles.style import Style, check_style_path, save_style
from stylemix.tools.options import ModelChoice, marks_option, photo_model_options
from stylemix.tools.outputs import output_file
from stylemix.training.adapt.adapt import METHODS, AdaptSettings, StyleCard, adapt
from stylemix.training.adapt.draw_kit import write_kit
from stylemix.training.adapt.preview import preview_sheet, visibility
from stylemix.training.adapt.student_training import PRECISIONS
from stylemix.training.adapt.trainable import PARTS


@click.command("adapt")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path),
    help="Style file to write: .pkl, .stylemix or .safetensors; a folder for --draw-kit.",
)  # fmt: skip
@click.option(
    "--pairs",
    is_flag=True,
    help="IMAGES are a folder of photos and one of their drawings, with the same names.",
)
@click.option(
    "--draw-kit",
    type=click.IntRange(1),
    metavar="N",
    help="Write N faces to draw on; adapt learns from the folder when they are drawn.",
)
@photo_model_options
@click.option(
    "--method", type=click.Choice(METHODS), default="auto", show_default=True,
    help="look: light, colours and make-up, from a few photos; drawing: a drawn style, from a few "
    "drawings; transfer: a drawn style with its own shapes, from many drawings; pairs: a drawn "
    "style, from faces and their drawings; personal: a person, from several photos; jojogan: "
    "JoJoGAN with its published settings; auto: look for photos, drawing for drawings.",
)  # fmt: skip
@click.option(
    "--learn", type=click.Choice(PARTS),
    help="Parameters that look and transfer train: more parameters need more images.  "
    "[default: by the images]",
)  # fmt: skip
@click.option(
    "--align/--no-align", default=None,
    help="Crop and align the faces of the images.  [default: align, except for transfer; drawings "
    "where a face is found]",
)  # fmt: skip
@click.option(
    "--start", help="Style to initialise look and transfer from, or none.  [default: none]",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(1),
    help="Training steps of methods other than transfer.  [default: look 250, drawing 300, "
    "personal 200, pairs by their number, jojogan 300]",
)  # fmt: skip
@click.option(
    "--sparse", type=click.FloatRange(0, 1, min_open=True),
    help="Share of the style offsets of a look to store, largest first.  [default: 1]",
)  # fmt: skip
@click.option(
    "--kimg",
    type=click.FloatRange(0.001),
    help="Training length of transfer in thousand images.  [default: 30]",
)
@click.option("--strength", type=float, default=1.0, show_default=True,
              help="Recommended strength of the style.")  # fmt: skip
@click.option(
    "--layers", help="Recommended layers of the style: all, coarse, middle, fine, 16-64px, ...  "
    "[default: those with the best scores]",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(PRECISIONS),
    help="Precision of drawing and transfer; bf16 is faster on processors that support it.  "
    "[default: transfer fp32, drawing bf16 where the device supports it]",
)  # fmt: skip
@click.option("--name", help="Name of the style.  [default: name of the output file]")
@click.option("--license", "licence", default="unknown", show_default=True,
              help="Licence of the images.")  # fmt: skip
@click.option("--credit", default="", help="Credit: author of the images.")
@click.option("--consent", default=NOT_RECORDED, show_default=True,
              help="Consent of the people in the images.")  # fmt: skip
@click.option("--several-people", is_flag=True,
              help="Allow photos of several people for --method personal.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True,
              help="Random seed.")  # fmt: skip
@marks_option
def adapt_command(
    images: tuple[Path, ...],
    output: Path,
    pairs: bool,
    draw_kit: int | None,
    choice: ModelChoice,
    method: str,
    learn: str | None,
    start: str | None,
    align: bool | None,
    steps: int | None,
    sparse: float | None,
    kimg: float | None,
    strength: float,
    layers: str | None,
    precision: str | None,
    name: str | None,
    licence: str,
    credit: str,
    consent: str,
    several_people: bool,
    seed: int,
) -> None:
    """Make a style file from images of a style: files, folders or zips.

    Beside the file NAME.preview.jpg shows generated faces without and with the style. The same
    command resumes a drawing or a transfer that was interrupted. The file contains no images.

    \b
    Examples:
      stylemix adapt look1.jpg look2.jpg look3.jpg --output influencer.pkl
      stylemix adapt drawings/ --output mine.pkl --license "CC BY 4.0" --credit "A. Painter"
      stylemix adapt --pairs photos/ drawings/ --output comic.pkl
      stylemix adapt --draw-kit 24 --output kit/ && stylemix adapt kit/ --output comic.pkl
    """
    if bool(images) == (draw_kit is not None):
        raise StylemixError("got images and --draw-kit, or neither; expected one of them; add one")
    if draw_kit is not None:
        write_kit(choice.load(photos=False), output, draw_kit, seed)
        wrote(output, f"{draw_kit} faces to draw on", faces=draw_kit)
        return
    check_style_path(output)
    output = output_file(output, [*images, choice.name, start or ""], _beside)
    state = current().state = output.with_name(output.name + ".state")
    model = choice.load()
    style = adapt(
        images,
        AdaptSettings(
            "pairs" if pairs else method, learn, start, align, steps, sparse, kimg, precision, seed,
            several_people,
        ),
        model=model,
        card=StyleCard(name or output.stem, licence, credit, consent),
        strength=strength, layers=layers, state=state, progress=True,
        on_plan=lambda plan: note(str(plan)),
    )  # fmt: skip
    save_style(output, style)
    state.unlink(missing_ok=True)
    _tell(output, style, model)


def _tell(output: Path, style: Style, model: Model) -> None:
    """Says what the style file is like, and writes the preview beside it."""
    wrote(output, _describe(output, style), bytes=output.stat().st_size)
    save_image(_sheet_of(output), preview_sheet(model, style))
    wrote(_sheet_of(output), "faces without and with the style")
    say(visibility(style.info["scores"]))  # type: ignore[arg-type]
    result(**style.info)


def _beside(output: Path) -> list[Path]:
    return [_sheet_of(output)]


def _sheet_of(output: Path) -> Path:
    """The preview beside a style file."""
    return output.with_name(f"{output.stem}.preview.jpg")


def _describe(output: Path, style: Style) -> str:
    """A summary of the style: method, number of images, file size and scores."""
    scores = style.info["scores"]
    assert isinstance(scores, dict)
    values = [f"{key} {value}" for key, value in scores.items()]
    size = f"{os.path.getsize(output) / 1000:.0f} KB"
    count = style.info["pictures"]
    images = f"{count} image{'' if count == 1 else 's'}"
    return ", ".join([str(style.info["method"]), images, size, *values])
