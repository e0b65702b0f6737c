"""`stylemix blend`: layers swapped between models, and averages of models or snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
from click.core import ParameterSource

from stylemix.errors import StylemixError, printable
from stylemix.messages import note, say
from stylemix.model import blend
from stylemix.models.blend import unrelated
from stylemix.models.checkpoint import check_model_path, save_model
from stylemix.tools.convert import tell_model
from stylemix.tools.options import device_option
from stylemix.tools.outputs import output_file
from stylemix.training.snapshots import LAST, average_snapshots

OF_MODELS = ("swap", "ramp", "reverse", "weights", "mapping")
OF_RUNS = ("last", "half_life")


@click.command("blend")
@click.argument("models", metavar="A [B ...]", nargs=-1, required=True)
@click.option("--output", required=True, type=click.Path(path_type=Path),
              help="Model file to write: .safetensors or .pkl.")  # fmt: skip
@click.option(
    "--swap", metavar="PX",
    help="Resolution where the layers of A end and those of B begin, such as 32px; with more "
    "models more of them: 16px,64px.",
)  # fmt: skip
@click.option("--ramp", type=click.FloatRange(0), default=0, show_default=True, metavar="LAYERS",
              help="Number of layers over which a swap changes; 0 for none.")  # fmt: skip
@click.option("--reverse", is_flag=True, help="A has the fine layers instead of the coarse ones.")
@click.option(
    "--weights", metavar="W,W,...",
    help="Weights of an average of the models, such as 0.7,0.3.  [default: equal]",
)  # fmt: skip
@click.option(
    "--mapping", type=click.Choice(["first", "average"]), default="first", show_default=True,
    help="Mapping network: that of A, whose latents fit then, or the average, for snapshots.",
)  # fmt: skip
@click.option("--last", type=click.IntRange(2), default=LAST, show_default=True,
              help="Number of snapshots of a run folder that are averaged.")  # fmt: skip
@click.option(
    "--half-life", type=click.FloatRange(0, min_open=True), metavar="KIMG",
    help="Average a run as a moving average (EMA) with this half-life.  [default: equal weights]",
)  # fmt: skip
@click.option(
    "--dtype", type=click.Choice(["float16", "float32"]), default="float16", show_default=True,
    help="Precision of the stored weights.",
)  # fmt: skip
@device_option
def blend_command(
    models: tuple[str, ...],
    output: Path,
    swap: str | None,
    ramp: float,
    reverse: bool,
    weights: str | None,
    mapping: Literal["first", "average"],
    last: int,
    half_life: float | None,
    dtype: Literal["float16", "float32"],
    device: str,
) -> None:
    """Blend the models A, B, ... to a new model: layers of both, or a weighted average.

    Models are shipped names or files, ours or other programs', that were trained from one another.
    Latents and styles of A fit the blend. A may be a run folder instead, without B: then its last
    snapshots are averaged.

    \b
    Examples:
      stylemix blend faces.pkl toon.pkl --swap 32px --output blend.safetensors
      stylemix blend faces.pkl toon.pkl --weights 0.7,0.3 --output blend.safetensors
      stylemix blend runs/faces --half-life 20 --output average.safetensors
    """
    check_model_path(output)
    output = output_file(output, models)
    is_run = len(models) == 1 and Path(models[0]).is_dir()
    _check_options(is_run)
    if is_run:
        model = average_snapshots(
            models[0], last=last, half_life=half_life, device=device, progress=True
        )
    else:
        model = blend(
            models, swap=swap, ramp=ramp, reverse=reverse, weights=_numbers(weights),
            mapping=mapping, device=device, progress=True,
        )  # fmt: skip
    save_model(output, model, dtype)
    tell_model(model, output)
    say(printable(f"licence {model.card['licence']}"))
    if unrelated(model):
        note("The models were not trained from one another: their blend draws nothing sensible.")


def _check_options(is_run: bool) -> None:
    """Raises StylemixError for options of models with a run folder, and the reverse."""
    context = click.get_current_context()
    for name in OF_MODELS if is_run else OF_RUNS:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            got, expected = ("a run folder", "models") if is_run else ("models", "a run folder")
            raise StylemixError(
                f"got --{name.replace('_', '-')} and {got}; expected it with {expected} only; "
                "leave it out"
            )


def _numbers(text: str | None) -> list[float] | None:
    """Parses "0.7,0.3"."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise StylemixError(
            f"got --weights {text[:60]!a}; expected numbers such as 0.7,0.3; change it"
        ) from None
