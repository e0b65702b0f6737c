"""Options that several commands share, each written once."""

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

Command = Callable[..., Any]

model_option = click.option(
    "--model", default="faces-64", show_default=True, help="Model file or shipped name."
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto."
)
face_option = click.option(
    "--face", type=click.IntRange(1), help="Which of several faces, largest first."
)
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
        help="Projection of photos. fast: one w and a refinement; balanced: a w per layer, too; "
        "best: many steps.",
    ),
    click.option(
        "--method", type=click.Choice(METHODS), default="hybrid", show_default=True,
        help="hybrid is ours; w, w+ and pti are the published ones, with their settings.",
    ),
    click.option("--w-steps", type=click.IntRange(0), help="Steps with one w, without an encoder."),
    click.option("--steps", type=click.IntRange(0), help="Steps with a w per layer."),
    click.option(
        "--refine-steps", type=click.IntRange(0), help="Steps with weights and features."
    ),
    click.option(
        "--budget", type=click.FloatRange(0.01), help="Seconds a photo, instead of counting steps."
    ),
    click.option(
        "--encoder", type=click.Path(path_type=Path),
        help="Encoder file.  [default: the shipped one]",
    ),
    click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the projection."
    ),
)  # fmt: skip


def strengths_of(directions: Sequence[str]) -> dict[str, float]:
    """Strengths by name of options such as NAME:STRENGTH; 1 where none is given."""
    items = [StyleArgument.parse(text) for text in directions]
    return {str(item.what): 1.0 if item.weight is None else item.weight for item in items}


def projection_options(command: Command) -> Command:
    """Adds the options of a projection; `projection_settings` takes what they give."""
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
    """The settings that the options stand for; StylemixError where they contradict each other."""
    counts = {"w_steps": w_steps, "plus_steps": steps, "refine_steps": refine_steps}
    given = {name: count for name, count in counts.items() if count is not None}
    if method != "hybrid" and (given or budget):
        raise StylemixError(
            f"got --method {method} with steps or a budget; expected these for hybrid only, since "
            "published methods have their own; leave them out"
        )
    return replace(PRESETS[preset], method=method, budget=budget, seed=seed, **given)
