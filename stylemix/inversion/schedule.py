"""The optimisation loop: stages by steps or by time, learning rate schedules and progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from stylemix.inversion.adam import Adam
from stylemix.progress import Progress

PATIENCE = 25  # steps without an improvement after which the decay phase begins
MIN_IMPROVEMENT = 0.002  # relative, of the loss over `PATIENCE` steps
DECAY = 0.4  # share of a stage in its decay phase, where the learning rate falls
WARM_UP, FINAL_RATE = 20, 0.1  # of `warm_up_then_linear`: steps; factor of the rates at the end

Ramp = Callable[[float, int], float]  # of progress t in [0, 1) and steps: factor of the rates


def hold_then_cosine(t: float, steps: int) -> float:
    """Linear warm-up in the first 5 %, cosine decay in the last 40 %."""
    warm_up = min(1.0, (t + 1 / steps) / 0.05)
    return warm_up * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / DECAY)))


def cosine(t: float, steps: int) -> float:
    """Linear warm-up in the first tenth, times a cosine decay to zero."""
    return min(1.0, (t + 1 / steps) / 0.1) * (0.5 + 0.5 * math.cos(math.pi * t))


def stylegan2(t: float, _steps: int) -> float:
    """Linear warm-up in the first 5 %, cosine decay in the last 25 % (arXiv 1912.04958)."""
    return min(1.0, t / 0.05) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.25)))


def warm_up_then_linear(t: float, steps: int) -> float:
    """Linear warm-up in the first 20 steps, times a linear decay to a tenth."""
    return min(1.0, (round(t * steps) + 1) / WARM_UP) * (1 - (1 - FINAL_RATE) * t)


def constant(_t: float, _steps: int) -> float:
    """Constant learning rates."""
    return 1.0


class Pace:
    """Iterates over progress t in [0, 1): in `steps` equal steps, or for `seconds`.

    With `note`, a stage at a plateau skips to its decay phase.
    """

    def __init__(self, steps: int, seconds: float | None = None) -> None:
        self.steps, self.seconds = steps, seconds
        self.history: list[float] = []
        self.skipped = 0.0

    def __iter__(self) -> Iterator[float]:
        started, step = time.monotonic(), 0
        while self.steps:
            if self.seconds is None:
                t = step / self.steps
            else:
                t = (time.monotonic() - started) / self.seconds
            t += self.skipped
            if t > 1 - 1e-9:
                return
            if not self.skipped and t < 1 - DECAY and self._at_plateau():
                self.skipped = 1 - DECAY - t
                t = 1 - DECAY
            yield t
            step += 1

    def note(self, loss: float) -> None:
        """Records the loss of a step."""
        self.history.append(loss)

    def _at_plateau(self) -> bool:
        """Whether the last `PATIENCE` steps improved too little on the same number before them."""
        if len(self.history) < 2 * PATIENCE:
            return False
        before = sum(self.history[-2 * PATIENCE : -PATIENCE])
        return sum(self.history[-PATIENCE:]) > before * (1 - MIN_IMPROVEMENT)


class Stages:
    """The consecutive stages of an optimisation, and its progress over all of them.

    Args:
        steps: number of steps of each stage.
        progress: called after each step with (steps done, steps of all stages, mean loss).
        costs: relative duration of a step of each stage, to divide `seconds` by.
        seconds: time for all stages, instead of the numbers of steps.
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
        unit = None if seconds is None else seconds / max(sum(work), 1)
        self.seconds = [None if unit is None else unit * amount for amount in work]

    def next(self) -> Pace:
        """The pace of the next stage."""
        self.index += 1
        return Pace(self.steps[self.index], self.seconds[self.index])

    def report(self, t: float, loss: float) -> None:
        """Reports progress t in [0, 1) of the current stage."""
        self.loss = loss
        if self.progress is not None:
            done = sum(self.steps[: self.index]) + int(t * self.steps[self.index] + 1.001)
            self.done = min(done, sum(self.steps))
            self.progress(self.done, sum(self.steps), loss)

    def finish(self) -> None:
        """Reports all steps as done, also those skipped by a plateau or the time limit."""
        if self.progress is not None and self.done < sum(self.steps):
            self.progress(sum(self.steps), sum(self.steps), self.loss)


def optimise(
    adam: Adam,
    losses_at: Callable[[int, float], Tensor],
    stages: Stages,
    ramp: Ramp,
    after: Callable[[int, float], None] | None = None,
    plateau: bool = True,
) -> None:
    """Minimises a loss over the next stage of `stages`.

    Args:
        adam: the optimiser; its learning rates are the peak rates.
        losses_at: one or several losses, which are summed, at a step and progress t in [0, 1).
        stages: the stages.
        ramp: the factor of the learning rates at each step.
        after: called after each step with the step and t.
        plateau: whether a plateau skips to the decay phase.
    """
    rates, pace = [group["lr"] for group in adam.param_groups], stages.next()
    for step, t in enumerate(pace):
        factor = ramp(t, pace.steps)
        for group, rate in zip(adam.param_groups, rates, strict=True):
            group["lr"] = rate * factor
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
