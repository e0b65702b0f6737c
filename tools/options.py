"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce, wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from stylemix.avatars.inputs import StyleArgument, added
from stylemix.devices import free_memory
from stylemix.errors import MAX_SEED, StylemixError
from stylemix.faces.alignment import Box
from stylemix.images.provenance import use_marks
from stylemix.inversion.forecast import forecast_projection
from stylemix.inversion.settings import METHODS, PRESETS, ProjectionSettings
from stylemix.messages import detail, note, result
from stylemix.models.loading import DEFAULT_MODEL, use_model
from stylemix.models.model import Model
from stylemix.networks.batches import use_batch
from stylemix.networks.labels import Label

LARGE_PX = 128  # resolution below which nothing takes long
LONG = 60.0  # seconds that are worth a line

Command = Callable[..., Any]

TEMPLATE_NAMES = (
    "faces128 (close-up), ffhq (with hair and shoulders), none (anything but faces) or a file"
)

model_option = click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, help="Model file or shipped name."
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto."
)
template_option = click.option(
    "--template", help=f"Alignment of photos: {TEMPLATE_NAMES}.  [default: the model's]"
)
batch_option = click.option(
    "--batch", type=click.IntRange(1), expose_value=False,
    callback=lambda context, _, size: context.with_resource(use_batch(size)),
    help="Images generated or projected at once.  [default: as many as fit into memory]",
)  # fmt: skip
LABEL = (
    click.option(
        "--class", "number", type=click.IntRange(0), metavar="N",
        help="Class of a conditional model.  [default: for photos the nearest; seeds need one]",
    ),
    click.option(
        "--label", "values", metavar="V1,V2,...",
        help="Label of a conditional model, a value for each of its classes.",
    ),
)  # fmt: skip
MODEL = (model_option, *LABEL, batch_option, device_option)


def _box(_context: click.Context, _option: click.Parameter, text: str | None) -> Box | None:
    if text is None:
        return None
    try:
        left, top, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise StylemixError(
            f"got --box {text[:40]}; expected left, top, width and height in px, as in "
            "10,20,300,200; change it"
        ) from None
    return left, top, width, height


face_option = click.option(
    "--face", type=click.IntRange(1),
    help="Which face of a photo with several faces; 1 is the largest.",
)  # fmt: skip
SUBJECT = (
    face_option,
    click.option(
        "--box", callback=_box, metavar="X,Y,W,H",
        help="The subject of a photo without a face, in px: left, top, width and height.  "
        "[default: the centre of the photo]",
    ),
)  # fmt: skip


def size_option(default: str) -> Callable[[Command], Command]:
    """The option --size of a command, which takes `default` without it."""
    text = f"Longer side of the output in px.  [default: {default}]"
    return click.option("--size", type=click.IntRange(16, 4096), help=text)


cache_option = click.option(
    "--no-cache", is_flag=True,
    help="Neither keep the latents of photos for the next command, nor use kept ones.",
)  # fmt: skip
marks_option = click.option(
    "--no-marks", is_flag=True, expose_value=False,
    callback=lambda context, _, off: context.with_resource(use_marks(not off)),
    help="Leave out all that marks images as generated: metadata, watermark and signature.",
)  # fmt: skip
OF_PRESET = "  [default: the preset's]"
PROJECTION = (
    click.option(
        "--preset", type=click.Choice(list(PRESETS)), default="balanced", show_default=True,
        help="Preset of the projection. fast: W (a single w) and refinement; balanced: also W+ (a "
        "w per layer); best: more steps.",
    ),
    click.option(
        "--method", type=click.Choice(METHODS), default="hybrid", show_default=True,
        help="Method of the projection: hybrid, or w, w+ or pti (pivotal tuning) with their "
        "published settings.",
    ),
    click.option(
        "--w-steps", type=click.IntRange(0),
        help=f"Optimisation steps in W, if there is no encoder.{OF_PRESET}",
    ),
    click.option(
        "--steps", type=click.IntRange(0), help=f"Optimisation steps in W+.{OF_PRESET}"
    ),
    click.option(
        "--refine-steps", type=click.IntRange(0),
        help=f"Refinement steps, on weights and features.{OF_PRESET}",
    ),
    click.option(
        "--budget", type=click.FloatRange(0.01),
        help="Time per photo in seconds, instead of a number of steps."
    ),
    click.option(
        "--encoder", type=click.Path(path_type=Path),
        help="Encoder file for the initial latents.  [default: the shipped encoder, if any]",
    ),
    click.option(
        "--seed", type=click.IntRange(0, MAX_SEED), default=0, show_default=True,
        help="Random seed of the projection."
    ),
)  # fmt: skip


def _wrap(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    return reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


@dataclass(frozen=True)
class ModelChoice:
    """The model of a command by its options, which is loaded after the other inputs are checked."""

    name: str
    device: str
    template: str | None = None
    label: Label | None = None

    def load(self, photos: bool = True, settings: ProjectionSettings | None = None) -> Model:
        """The model; for `photos` a line says if there is no face to align and to compare.

        A line says, too, if a projection with `settings` takes over a minute, or half the memory.
        """
        model = use_model(self.name, self.device, self.template, self.label)
        sizes = model.generator.config.size_text
        detail(f"Model {self.name}: {sizes}, {model.fingerprint}, on {model.generator.device}")
        result(model=model.fingerprint)
        if photos and model.template.eyes is None:
            note(
                f"Note: the template {model.template.name} has no face: photos are cropped, and "
                "identity is neither measured nor kept"
            )
        if settings is not None and settings.method == "hybrid":
            _warn_if_large(model, settings)
        return model


def _warn_if_large(model: Model, settings: ProjectionSettings) -> None:
    if model.generator.img_resolution < LARGE_PX:
        return
    expected, free = forecast_projection(model, settings), free_memory(model.generator.device)
    if expected.seconds > LONG or (free is not None and expected.bytes > free / 2):
        note(
            f"Note: projecting a photo takes {expected} on this machine; --preset fast and "
            "--budget SECONDS take less"
        )


def model_options(command: Command) -> Command:
    """Adds --batch, and --model, --class, --label and --device: the argument `choice`.

    Raises StylemixError for a class and a label, and for a label that is not numbers.
    """

    @wraps(command)
    def run(
        *, model: str, number: int | None, values: str | None, device: str, **others: Any
    ) -> Any:
        label = label_argument(number, values)
        choice = ModelChoice(model, device, others.pop("template", None), label)
        return command(choice=choice, **others)

    return _wrap(run, MODEL)


def photo_model_options(command: Command) -> Command:
    """Adds `model_options` and --template."""
    return template_option(model_options(command))


def subject_options(command: Command) -> Command:
    """Adds --face and --box, which choose the subject of a photo."""
    return _wrap(command, SUBJECT)


def label_argument(number: int | None, values: str | None) -> Label | None:
    """The label of --class and --label, one of which may be given."""
    if values is None:
        return number
    if number is not None:
        raise StylemixError("got --class and --label; expected one of them; leave one out")
    try:
        return [float(part) for part in values.split(",")]
    except ValueError:
        raise StylemixError(
            f"got --label {values[:40]}; expected numbers, as in 0,1,0; change it"
        ) from None


def strengths_of(directions: Sequence[str]) -> dict[str, float]:
    """Parses options such as NAME:STRENGTH to strengths by name; 1 without a strength.

    A direction that is named twice gets the sum.
    """
    total: dict[str, float] = {}
    for item in map(StyleArgument.parse, directions):
        amount = 1.0 if item.weight is None else item.weight
        total = added(total, {str(item.what): amount})
    return total


def projection_options(command: Command) -> Command:
    """Adds the options of a projection, whose values are arguments of `projection_settings`."""
    return _wrap(command, PROJECTION)


def projection_settings(
    preset: str,
    method: str,
    w_steps: int | None,
    steps: int | None,
    refine_steps: int | None,
    budget: float | None,
    seed: int,
) -> ProjectionSettings:
    """The settings of the options; raises StylemixError for contradicting options."""
    counts = {"w_steps": w_steps, "plus_steps": steps, "refine_steps": refine_steps}
    given = {name: count for name, count in counts.items() if count is not None}
    context = click.get_current_context(silent=True)
    source = context and context.get_parameter_source("preset")
    if method != "hybrid" and (given or budget or source is ParameterSource.COMMANDLINE):
        raise StylemixError(
            f"got --method {method} with a preset, steps or a budget; expected these for hybrid "
            "only, since published methods have fixed steps; leave them out"
        )
    return replace(
        PRESETS[preset],
        method=method,
        budget=budget,
        seed=seed,
        fewer_when_large=not given,
        **given,
    )
