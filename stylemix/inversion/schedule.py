"""One optimisation loop: its stages by steps or by the clock, its learning rates, its progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from stylemix.progress import Progress

PATIENCE = 25  # steps without a gain of .2 % after which the last part begins
GAIN = 0.002
DECAY = 0.4  # the last part, in which the learning rate falls
WARM_UP, LAST_RATE = 20, 0.1  # of `warm_up_then_linear`: steps; share of the rates at the end

Ramp = Callable[[float, int], float]  # of progress t in [0, 1) and steps: share of the rates


def hold_then_cosine(t: float, steps: int) -> float:
    """Up in the first 5 %, down a cosine in the last 40 %."""
    up = min(1.0, (t + 1 / steps) / 0.05)
    return up * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / DECAY)))


def cosine(t: float, steps: int) -> float:
    """Up in the first tenth, then down a cosine to zero."""
    return min(1.0, (t + 1 / steps) / 0.1) * (0.5 + 0.5 * math.cos(math.pi * t))


def stylegan2(t: float, _steps: int) -> float:
    """From zero up in the first 5 %, down a cosine in the last 25 % (arXiv 1912.04958)."""
    return min(1.0, t / 0.05) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.25)))


def warm_up_then_linear(t: float, steps: int) -> float:
    """Up in the first 20 steps, and all the while down a line to a tenth."""
    return min(1.0, (round(t * steps) + 1) / WARM_UP) * (1 - (1 - LAST_RATE) * t)


def constant(_t: float, _steps: int) -> float:
    """The full rates throughout."""
    return 1.0


class Pace:
    """Iterates over progress t, from 0 to below 1: in `steps` equal steps, or for `seconds`.

    With `note`, a stage that no longer gains goes straight to its last part.
    """

    def __init__(self, steps: int, seconds: float | None = None) -> None:
        self.steps, self.seconds = steps, seconds
        self.history: list[float] = []
        self.ahead = 0.0

    def __iter__(self) -> Iterator[float]:
        started, step = time.monotonic(), 0
        while self.steps:
            if self.seconds is None:
                t = step / self.steps
            else:
                t = (time.monotonic() - started) / self.seconds
            t += self.ahead
            if t > 1 - 1e-9:
                return
            if not self.ahead and t < 1 - DECAY and self._is_flat():
                self.ahead = 1 - DECAY - t
                t = 1 - DECAY
            yield t
            step += 1

    def note(self, loss: float) -> None:
        """Takes the loss of a step."""
        self.history.append(loss)

    def _is_flat(self) -> bool:
        """Whether the last steps gained less than .2 % on those before them."""
        if len(self.history) < 2 * PATIENCE:
            return False
        before = sum(self.history[-2 * PATIENCE : -PATIENCE])
        return sum(self.history[-PATIENCE:]) > before * (1 - GAIN)


class Stages:
    """The stages of an optimisation, one after another, and its progress over all of them.

    Args:
        steps: of each stage.
        progress: called after each step with the steps of all stages and the mean loss.
        costs: of a step of each stage, to share `seconds` by.
        seconds: for all stages, instead of counting steps.
    """

    def __init__(
        self,
        steps: Sequence[int],
        progress: Progress | None = None,
        costs: Sequence[float] | None = None,
        seconds: float | None = None,
    ) -> None:
        self.steps, self.progress, self.index = steps, progress, -1
        self.done, self.loss = 0, 0.0
        work = [n * cost for n, cost in zip(steps, costs or [1.0] * len(steps), strict=True)]
        each = None if seconds is None else seconds / max(sum(work), 1)
        self.seconds = [None if each is None else each * one for one in work]

    def next(self) -> Pace:
        """The pace of the next stage."""
        self.index += 1
        return Pace(self.steps[self.index], self.seconds[self.index])

    def report(self, t: float, loss: float) -> None:
        """Reports that the stage has come to t in [0, 1)."""
        self.loss = loss
        if self.progress is not None:
            done = sum(self.steps[: self.index]) + int(t * self.steps[self.index] + 1.001)
            self.done = min(done, sum(self.steps))
            self.progress(self.done, sum(self.steps), loss)

    def finish(self) -> None:
        """Reports that all is done, also what a plateau or the clock has left out."""
        if self.progress is not None and self.done < sum(self.steps):
            self.progress(sum(self.steps), sum(self.steps), self.loss)


def optimise(
    adam: torch.optim.Optimizer,
    losses_at: Callable[[int, float], Tensor],
    stages: Stages,
    ramp: Ramp,
    after: Callable[[int, float], None] | None = None,
    plateau: bool = True,
) -> None:
    """Lowers a loss for the next of some stages.

    Args:
        adam: of what is optimised; its rates are the highest ones.
        losses_at: one loss or several, whose sum falls, at a step and progress t in [0, 1).
        stages: how long.
        ramp: the share of the rates at each step.
        after: called after each step with the step and t.
        plateau: whether one leads straight to the last part, with its low rates.
    """
    rates, pace = [group["lr"] for group in adam.param_groups], stages.next()
    for step, t in enumerate(pace):
        share = ramp(t, pace.steps)
        for group, rate in zip(adam.param_groups, rates, strict=True):
            group["lr"] = rate * share
        losses = losses_at(step, t)
        adam.zero_grad()
        losses.sum().backward()
        adam.step()
        loss = float(losses.detach().mean())
        if plateau:
            pace.note(loss)
        if after is not None:
            after(step, t)
        stages.report(t, loss)
