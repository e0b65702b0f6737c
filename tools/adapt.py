"""`stylemix adapt`: a style file from pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from stylemix.images import to_channels
from stylemix.jojogan import STEPS, learn_paired
from stylemix.model import Model
from stylemix.scores import score_style
from stylemix.sources import list_images
from stylemix.style import Style, check_strength, check_style_path, save_style
from stylemix.style_distance import StyleMeter
from stylemix.transfer import TransferSettings, learn_transfer

TRANSFER_PSI = 0.7  # by eye on the portraits: at 1 eyes and mouths bend, at .5 persons are alike
MANY = 100  # pictures from which on an adversarial transfer has enough to learn from
MOST_FOR_LOOK = 256
PRECISIONS = ("fp32", "bf16")


def read_pictures(paths: tuple[Path, ...], model: Model, align: bool) -> ImageDataset:
    """The pictures as a data set at the model's size.

    With `align` the face of each is cut out, and pictures without one are left out.
    """
    config = model.generator.config

    def cut(picture: Image.Image) -> Image.Image:
        crop = align_photo(to_channels(picture, 3), model.template, config.height).crop
        return to_channels(crop, config.img_channels)

    size = config.height, config.width
    prepare = cut if align else None
    return ImageDataset(paths, size, prepare=prepare, channels=config.img_channels)


def some_of(dataset: ImageDataset) -> Tensor:
    """Up to 256 pictures, evenly from the whole set, [K, C, H, W] in [-1, 1]."""
    count = min(len(dataset), MOST_FOR_LOOK)
    images, _ = dataset.batch([i * len(dataset) // count for i in range(count)])
    return images.float() / 127.5 - 1


@click.command("adapt")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path),
    help="Style file: .pkl, .stylemix or .safetensors.",
)  # fmt: skip
@click.option("--model", default="faces-64", show_default=True, help="Base: file or shipped name.")
@click.option(
    "--method", type=click.Choice(["auto", "look", "transfer", "jojogan"]), default="auto",
    show_default=True,
    help="look: light, colour, make-up from a few photos; transfer: an illustrator's hand from "
    f"hundreds of pictures; auto: transfer from {MANY} pictures on; jojogan: that method as it "
    "was published.",
)  # fmt: skip
@click.option(
    "--align/--no-align", default=None,
    help="Cut out and align faces.  [default: not for transfer]",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(1), help="Steps of look and jojogan.  [default: 250 and 300]"
)
@click.option(
    "--kimg", type=click.FloatRange(0.001), help="Thousand images of transfer.  [default: 30]"
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
    check_strength(strength)
    started = time.monotonic()
    if method == "auto":
        method = "transfer" if len(list_images(images)) >= MANY else "look"
    _check_options(method, steps, kimg)
    base = load_model(model, find_device(device))
    cut = base.template.kind != "none" and (method != "transfer" if align is None else align)
    dataset = read_pictures(images, base, cut)
    if method == "transfer":
        style, effort = _transfer(base, dataset, output, kimg, precision, seed)
    else:
        style, effort = _few(method, base, dataset, steps, seed)
    style.strength = strength
    scores = score_style(base, style, some_of(dataset))
    style.statistics = StyleMeter(base).look(some_of(dataset).to(base.generator.mapping.w_avg))
    pictures = len(dataset) - len(dataset.broken)
    style.info = {
        "name": name or output.stem,
        "method": method,
        "pictures": pictures,
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
    if method == "transfer":
        _state(output).unlink(missing_ok=True)
    click.echo(f"Wrote {output} ({method}, {pictures} pictures): {_describe(output, scores)}")


def _describe(output: Path, scores: dict[str, float]) -> str:
    figures = [f"{key} {value}" for key, value in scores.items()]
    return ", ".join([f"{os.path.getsize(output) / 1000:.0f} KB", *figures])


def _check_options(method: str, steps: int | None, kimg: float | None) -> None:
    """Raises StylemixError for an option that only another method takes."""
    other = "look" if method == "transfer" else "transfer"
    option, value = ("--steps", steps) if method == "transfer" else ("--kimg", kimg)
    if value is not None:
        raise StylemixError(
            f"got {option} for the method {method}; expected it with {other} only; leave it out, "
            f"or add --method {other}"
        )


def _few(
    method: str, base: Model, dataset: ImageDataset, steps: int | None, seed: int
) -> tuple[Style, dict[str, float]]:
    """The methods for few pictures."""
    with _bar("Learning a look", "step") as progress:
        if method == "jojogan":
            count = STEPS if steps is None else steps
            return learn_paired(base, some_of(dataset), count, seed, progress), {"steps": count}
        settings = LookSettings(seed=seed)
        settings = settings if steps is None else replace(settings, steps=steps)
        style = learn_look(base, some_of(dataset), settings, progress)
        return style, {"steps": settings.steps}


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
    style.psi = TRANSFER_PSI
    return style, {"kimg": settings.kimg}


def _state(output: Path) -> Path:
    return output.with_name(output.name + ".state")


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar as a function of (done, all, loss)."""
    with tqdm(desc=what, unit=unit, smoothing=0.05) as bar:

        def update(done: int, total: int, loss: float) -> None:
            if bar.total is None:
                bar.reset(total)
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(done - bar.n)

        yield update
