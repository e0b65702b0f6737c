"""The way down a loss, as all that learn a style from few pictures take it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stylemix.inversion.schedule import Pace

WARM_UP, LAST_RATE = 20, 0.1  # steps; share of the rates at the end

Progress = Callable[[int, int, float], None]


def descend(
    adam: torch.optim.Optimizer,
    loss_of: Callable[[int], Tensor],
    steps: int,
    progress: Progress | None = None,
    after: Callable[[int, float], None] | None = None,
) -> None:
    """Takes up to `steps` steps; a plateau goes straight to the last part, with its low rates.

    Args:
        adam: of what is learned; its rates are the highest ones.
        loss_of: the loss at a step.
        steps: at most.
        progress: called after each step with (step, steps, loss).
        after: called after each step with the step and the way done, 0 to 1.
    """
    rates = [group["lr"] for group in adam.param_groups]
    pace, told = Pace(steps), 0
    for step, way in enumerate(pace):
        share = min(1.0, (step + 1) / WARM_UP) * (1 - (1 - LAST_RATE) * way)
        for group, rate in zip(adam.param_groups, rates, strict=True):
            group["lr"] = rate * share
        loss = loss_of(step)
        adam.zero_grad()
        loss.backward()
        adam.step()
        pace.note(float(loss.detach()))
        if after is not None:
            after(step, way)
        if progress is not None:
            told = min(int(way * steps + 1.001), steps)
            progress(told, steps, pace.history[-1])
    if progress is not None and told < steps:
        progress(steps, steps, pace.history[-1])
