"""`stylemix adapt`: a style file from pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
from tqdm import tqdm

from stylemix import __version__
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.io.atomic import Json
from stylemix.metrics.style_distance import StyleMeter
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.latents import parse_layers
from stylemix.styles.style import Style, check_strength, check_style_path, load_style, save_style
from stylemix.training.adapt.base_style import added, with_style
from stylemix.training.adapt.finetune import TransferSettings, learn_transfer
from stylemix.training.adapt.jojogan import STEPS as JOJOGAN_STEPS
from stylemix.training.adapt.jojogan import learn_paired
from stylemix.training.adapt.look import learn_look
from stylemix.training.adapt.look_loss import LookSettings
from stylemix.training.adapt.method import SOME, AdaptationPlan, choose_layers
from stylemix.training.adapt.personal import STEPS as PERSONAL_STEPS
from stylemix.training.adapt.personal import learn_personal
from stylemix.training.adapt.scores import score_style
from stylemix.training.adapt.style_pictures import choose_pictures, some_of
from stylemix.training.adapt.trainable import PARTS
from stylemix.training.data.dataset import ImageDataset

TRANSFER_PSI = 0.85  # by eye on the portraits: at 1 eyes and mouths bend, at .5 persons are alike
PRECISIONS = ("fp32", "bf16")
METHODS = ("auto", "look", "transfer", "personal", "jojogan")
NOT_RECORDED = "not recorded"
# Which options belong to which methods.
TAKES = {
    "--steps": ("look", "personal", "jojogan"),
    "--sparse": ("look",),
    "--kimg": ("transfer",),
    "--learn": ("look", "transfer"),
    "--start": ("look", "transfer"),
}


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
    "many pictures; personal: one person, from some photos; jojogan: that method as it was "
    "published; auto: look or transfer, by the number of pictures and how far they are from the "
    "model's faces.",
)  # fmt: skip
@click.option(
    "--learn", type=click.Choice(PARTS),
    help="What of the generator look and transfer change: the more, the more pictures it takes.  "
    "[default: as the pictures suggest]",
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
@click.option("--license", "licence", default="unknown", show_default=True, help="Of the pictures.")
@click.option("--credit", default="", help="Whom to credit.")
@click.option("--consent", default=NOT_RECORDED, show_default=True,
              help="How persons in the pictures agreed.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
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
    """Make a style file from pictures of a style: files, folders or zips.

    A transfer that was stopped is continued by the same command. The file holds no pictures.

    \b
    Examples:
      stylemix adapt look1.jpg look2.jpg look3.jpg --output influencer.pkl
      stylemix adapt cartoons.zip --output toon.pkl --license "CC BY 4.0" --credit "A. Painter"
    """
    check_style_path(output)
    check_strength(strength)
    clock = time.monotonic()
    base = load_model(model, find_device(device))
    if layers is not None:
        parse_layers(layers, base.generator.img_resolution)
    choice, dataset = choose_pictures(method, images, base, align)
    effort = _Effort(steps, sparse, kimg, precision, seed, state=_state(output))
    _check_options(choice.method, effort, learn, start, consent)
    choice = replace(choice, part=learn or choice.part, start=start or choice.start)
    click.echo(choice, err=True)
    style, told = _learn(choice, base, dataset, effort)
    pictures = some_of(dataset)
    if layers is not None:
        style.layers = layers
    elif choice.method in TAKES["--learn"] and (choice.part != "offsets" or "start" in told):
        style = choose_layers(base, style, pictures)
    style.strength = strength
    scores = score_style(base, style, pictures)
    style.statistics = StyleMeter(base).look(pictures.to(base.generator.device))
    count = len(dataset) - len(dataset.broken)
    style.info = {"name": name or output.stem, "method": choice.method, "pictures": count}
    style.info |= {"licence": licence, "credit": credit, "consent": consent, "seed": seed}
    style.info |= {"seconds": round(time.monotonic() - clock), "tool": f"stylemix {__version__}"}
    style.info |= {"scores": dict(scores), **told}
    save_style(output, style)
    if choice.method == "transfer":
        _state(output).unlink(missing_ok=True)
    click.echo(f"Wrote {output} ({choice.method}, {count} pictures): {_describe(output, scores)}")


@dataclass(frozen=True)
class _Effort:
    """How long and how a style is learned; None for what its method is used to."""

    steps: int | None
    sparse: float | None
    kimg: float | None
    precision: str
    seed: int
    state: Path


def _learn(
    choice: AdaptationPlan, base: Model, dataset: ImageDataset, effort: _Effort
) -> tuple[Style, dict[str, Json]]:
    """The style, and what its file tells of how it was learned."""
    if choice.start in (None, "none"):
        return _from_here(choice, base, dataset, effort)
    begin = load_style(str(choice.start), base)
    started = with_style(base, begin)
    style, told = _from_here(choice, started, dataset, effort)
    told["start"] = {key: begin.info.get(key) for key in ("name", "licence", "credit")}
    return added(base, started, style, begin.psi), told


def _from_here(
    choice: AdaptationPlan, base: Model, dataset: ImageDataset, effort: _Effort
) -> tuple[Style, dict[str, Json]]:
    if choice.method == "transfer":
        return _transfer(choice, base, dataset, effort)
    pictures, seed = some_of(dataset), effort.seed
    with _bar(f"Learning ({choice.method})", "step") as progress:
        if choice.method == "jojogan":
            count = effort.steps or JOJOGAN_STEPS
            return learn_paired(base, pictures, count, seed, progress), {"steps": count}
        if choice.method == "personal":
            count = effort.steps or PERSONAL_STEPS
            return learn_personal(base, pictures, count, seed, progress), {"steps": count}
        settings = LookSettings(seed=seed, part=choice.part)
        settings = replace(
            settings,
            steps=effort.steps or settings.steps,
            sparse=effort.sparse or settings.sparse,
        )
        style = learn_look(base, pictures, settings, progress)
        return style, {"steps": settings.steps, "learned": choice.part}


def _transfer(
    choice: AdaptationPlan, base: Model, dataset: ImageDataset, effort: _Effort
) -> tuple[Style, dict[str, Json]]:
    if len(dataset) < SOME:
        raise StylemixError(
            f"got {len(dataset)} pictures; expected {SOME} or more for a transfer; "
            "use --method look"
        )
    settings = TransferSettings(seed=effort.seed, precision=effort.precision, part=choice.part)
    settings = replace(settings, kimg=effort.kimg or settings.kimg)
    with _bar("Learning a hand", "img") as progress:
        style = learn_transfer(base, dataset, settings, effort.state, progress)
    style.psi = TRANSFER_PSI
    return style, {"kimg": settings.kimg, "learned": choice.part}


def _describe(output: Path, scores: dict[str, float]) -> str:
    figures = [f"{key} {value}" for key, value in scores.items()]
    return ", ".join([f"{os.path.getsize(output) / 1000:.0f} KB", *figures])


def _check_options(
    method: str, effort: _Effort, learn: str | None, start: str | None, consent: str
) -> None:
    """Raises StylemixError for an option that only other methods take, or a missing consent."""
    given = {"--learn": learn, "--start": start, "--sparse": effort.sparse}
    given |= {"--steps": effort.steps, "--kimg": effort.kimg}
    for option, value in given.items():
        if value is not None and method not in TAKES[option]:
            raise StylemixError(
                f"got {option} for the method {method}; expected it with "
                f"{' or '.join(TAKES[option])} only; leave it out, or change --method"
            )
    if method == "personal" and consent == NOT_RECORDED:
        raise StylemixError(
            "got no --consent; expected how the person agreed, since a personal style draws that "
            "very person; ask, and add it"
        )


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
