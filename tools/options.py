"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import click

from stylemix.avatars.inputs import StyleArgument
from stylemix.errors import StylemixError
from stylemix.inversion.settings import METHODS, PRESETS, ProjectionSettings
from stylemix.networks.batches import use_batch

Command = Callable[..., Any]

model_option = click.option(
    "--model", default="faces-64", show_default=True, help="Model file or shipped name."
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto."
)
face_option = click.option(
    "--face",
    type=click.IntRange(1),
    help="Which face of a photo with several faces; 1 is the largest.",
)
batch_option = click.option(
    "--batch", type=click.IntRange(1), expose_value=False,
    callback=lambda context, _, size: context.with_resource(use_batch(size)),
    help="Images generated or projected at once.  [default: as many as fit into memory]",
)  # fmt: skip
size_option = click.option(
    "--size", type=click.IntRange(16, 4096), help="Longer side of the output in px."
)
cache_option = click.option(
    "--no-cache", is_flag=True,
    help="Neither keep the latents of photos for the next command, nor use kept ones.",
)  # fmt: skip
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
        "--w-steps", type=click.IntRange(0), help="Optimisation steps in W, if there is no encoder."
    ),
    click.option("--steps", type=click.IntRange(0), help="Optimisation steps in W+."),
    click.option(
        "--refine-steps", type=click.IntRange(0), help="Refinement steps, on weights and features."
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
        "--seed", type=click.IntRange(0), default=0, show_default=True,
        help="Random seed of the projection."
    ),
)  # fmt: skip


def strengths_of(directions: Sequence[str]) -> dict[str, float]:
    """Parses options such as NAME:STRENGTH to strengths by name; 1 without a strength."""
    items = [StyleArgument.parse(text) for text in directions]
    return {str(item.what): 1.0 if item.weight is None else item.weight for item in items}


def projection_options(command: Command) -> Command:
    """Adds the options of a projection, whose values are arguments of `projection_settings`."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(PROJECTION), command)


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
    if method != "hybrid" and (given or budget):
        raise StylemixError(
            f"got --method {method} with steps or a budget; expected these for hybrid only, since "
            "published methods have fixed steps; leave them out"
        )
    return replace(PRESETS[preset], method=method, budget=budget, seed=seed, **given)
