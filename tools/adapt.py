"""`stylemix adapt`: a style file from pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from stylemix import __version__
from stylemix.adaptation import LookSettings, learn_look
from stylemix.alignment import align_photo
from stylemix.checkpoint import load_model
from stylemix.dataset import ImageDataset
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.model import Model
from stylemix.scores import score_style
from stylemix.style import Style, check_style_path, save_style
from stylemix.transfer import TransferSettings, learn_transfer

MANY = 100  # pictures from which on an adversarial transfer has enough to learn from
MOST_FOR_LOOK = 256
PRECISIONS = ("fp32", "bf16")


def read_pictures(
    paths: tuple[Path, ...], model: Model, align: bool
) -> tuple[ImageDataset, Callable[[], Tensor]]:
    """The pictures as a data set at the model's size, and a function that gives up to 256 of them.

    With `align` the face of each is cut out, and pictures without one are left out.
    """
    size = model.generator.img_resolution

    def cut(picture: Image.Image) -> Image.Image:
        return align_photo(picture, model.template, size).crop

    dataset = ImageDataset(paths, size, prepare=cut if align else None)

    def some() -> Tensor:
        step = max(len(dataset) // MOST_FOR_LOOK, 1)
        images, _ = dataset.batch(range(0, len(dataset), step)[:MOST_FOR_LOOK])
        return images.float() / 127.5 - 1

    return dataset, some


@click.command("adapt")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path),
    help="Style file: .pkl, .stylemix or .safetensors.",
)  # fmt: skip
@click.option("--model", default="faces-64", show_default=True, help="Base: file or shipped name.")
@click.option(
    "--method", type=click.Choice(["auto", "look", "transfer"]), default="auto", show_default=True,
    help="look: light, colour, make-up from a few photos; transfer: an illustrator's hand from "
    f"hundreds of pictures; auto: transfer from {MANY} pictures on.",
)  # fmt: skip
@click.option(
    "--align/--no-align", default=None,
    help="Cut out and align faces.  [default: for look, not for transfer]",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Steps of look.  [default: 250]")
@click.option(
    "--kimg", type=click.FloatRange(0), help="Thousand images of transfer.  [default: 30]"
)
@click.option("--strength", type=float, default=1.0, show_default=True, help="To recommend.")
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True,
    help="Precision of transfer; bf16 is faster where the processor has it.",
)  # fmt: skip
@click.option("--name", help="Name of the style.  [default: that of the output]")
@click.option("--license", "licence", default="unknown", show_default=True, help="Of the pictures.")
@click.option("--credit", default="", help="Whom to credit.")
@click.option("--consent", default="not recorded", show_default=True,
              help="How persons in the pictures agreed.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def adapt_command(
    images: tuple[Path, ...],
    output: Path,
    model: str,
    method: str,
    align: bool | None,
    steps: int | None,
    kimg: float | None,
    strength: float,
    precision: str,
    name: str | None,
    licence: str,
    credit: str,
    consent: str,
    seed: int,
    device: str,
) -> None:
    """Make a style file from pictures of a style: files, folders or zips.

    A transfer that was stopped is continued by the same command. The file holds no pictures.

    \b
    Examples:
      stylemix adapt look1.jpg look2.jpg look3.jpg --output influencer.pkl
      stylemix adapt cartoons.zip --output toon.pkl --license "CC BY 4.0" --credit "A. Painter"
    """
    check_style_path(output)
    base = load_model(model, find_device(device))
    started = time.monotonic()
    dataset, _ = read_pictures(images, base, align=False)
    if method == "auto":
        method = "transfer" if len(dataset) >= MANY else "look"
    cut = base.template.kind != "none" and (method == "look" if align is None else align)
    dataset, some = read_pictures(images, base, cut)
    if method == "look":
        settings = LookSettings(seed=seed)
        settings = settings if steps is None else replace(settings, steps=steps)
        with _bar("Learning a look", "step") as progress:
            style = learn_look(base, some(), settings, progress)
        effort: dict[str, float] = {"steps": settings.steps}
    else:
        style, effort = _transfer(base, dataset, output, kimg, precision, seed)
    style.strength = strength
    scores = score_style(base, style, some())
    style.info = {
        "name": name or output.stem,
        "method": method,
        "pictures": len(dataset) - len(dataset.broken),
        "licence": licence,
        "credit": credit,
        "consent": consent,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "tool": f"stylemix {__version__}",
        "scores": dict(scores),
        **effort,
    }
    save_style(output, style)
    _state(output).unlink(missing_ok=True)
    figures = ", ".join(f"{key} {value}" for key, value in scores.items())
    size = os.path.getsize(output) / 1000
    click.echo(f"Wrote {output} ({size:.0f} KB, {method}, {len(dataset)} pictures): {figures}")


def _transfer(
    base: Model, dataset: ImageDataset, output: Path, kimg: float | None, precision: str, seed: int
) -> tuple[Style, dict[str, float]]:
    if len(dataset) < MANY // 4:
        raise StylemixError(
            f"got {len(dataset)} pictures; expected {MANY} or more for a transfer; "
            "use --method look"
        )
    settings = TransferSettings(seed=seed, precision=precision)
    settings = settings if kimg is None else replace(settings, kimg=kimg)
    with _bar("Learning a hand", "img") as progress:
        style = learn_transfer(base, dataset, settings, _state(output), progress)
    return style, {"kimg": settings.kimg}


def _state(output: Path) -> Path:
    return output.with_name(output.name + ".state")


class _bar:
    """A progress bar as a function of (done, all, loss)."""

    def __init__(self, what: str, unit: str) -> None:
        self.bar = tqdm(desc=what, unit=unit, smoothing=0.05)

    def __enter__(self) -> Callable[[int, int, float], None]:
        return self.update

    def update(self, done: int, total: int, loss: float) -> None:
        if self.bar.total is None:
            self.bar.reset(total)
            self.bar.initial = self.bar.n = 0
        self.bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        self.bar.update(done - self.bar.n)

    def __exit__(self, *_: object) -> None:
        self.bar.close()
