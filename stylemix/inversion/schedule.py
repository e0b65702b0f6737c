"""The way through a stage of optimisation: by steps or by the clock, ended early by a plateau."""

from __future__ import annotations

import time
from collections.abc import Iterator

PATIENCE = 25  # steps without a gain of .2 % after which the last part begins
GAIN = 0.002
DECAY = 0.4  # the last part, in which the learning rate falls


class Pace:
    """Iterates over the way, from 0 to below 1: in `steps` equal steps, or for `seconds`.

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
                way = step / self.steps
            else:
                way = (time.monotonic() - started) / self.seconds
            way += self.ahead
            if way > 1 - 1e-9:
                return
            if not self.ahead and way < 1 - DECAY and self._is_flat():
                self.ahead = 1 - DECAY - way
                way = 1 - DECAY
            yield way
            step += 1

    def note(self, loss: float) -> None:
        """Tells the loss of a step."""
        self.history.append(loss)

    def _is_flat(self) -> bool:
        """Whether the last steps gained less than .2 % on those before them."""
        if len(self.history) < 2 * PATIENCE:
            return False
        before = sum(self.history[-2 * PATIENCE : -PATIENCE])
        return sum(self.history[-PATIENCE:]) > before * (1 - GAIN)
