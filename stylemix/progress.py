"""Progress of long computations: a bar on a terminal, a line every ten seconds in a log.

It is shown on standard error, and not at all with --quiet.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol, TypeVar

from tqdm import tqdm

from stylemix import messages
from stylemix.errors import StylemixError, shown

INTERVAL = 10.0  # seconds between the lines of a log
Item = TypeVar("Item")


class Progress(Protocol):
    """A function of (steps done, total steps, and the loss if there is one)."""

    def __call__(self, done: int, total: int, loss: float = ..., /) -> None:
        """Called after each step."""


def is_quiet() -> bool:
    """Whether progress is to be left out."""
    return messages.current().quiet


def on_terminal() -> bool:
    """Whether standard error shows a line that is written again and again: a terminal, Jupyter."""
    return (sys.stderr is not None and sys.stderr.isatty()) or "ipykernel" in sys.modules


@contextmanager
def progress_bar(
    description: str, unit: str = "it", show: bool = True, leave: bool = True, after: float = 0.0
) -> Iterator[Progress]:
    """The progress of a task as a `Progress` callback; time counts from its first call.

    Without `leave` a bar is removed at its end. The bar of a task that may be short appears
    `after` some seconds.
    """
    if not show or is_quiet():
        yield lambda done, total, loss=0.0, /: None
    elif on_terminal():
        with tqdm(desc=description, unit=unit, leave=leave, smoothing=0.05, delay=after) as bar:
            yield _Bar(bar)
    else:
        yield _Log(description, unit)


def track(
    items: Iterable[Item],
    description: str,
    total: int,
    unit: str = "it",
    show: bool = True,
    leave: bool = True,
    after: float = 0.0,
) -> Iterator[Item]:
    """Yields the items and shows how many of `total` are done, as `progress_bar` does."""
    with progress_bar(description, unit, show, leave, after) as progress:
        progress(0, total)
        for done, item in enumerate(items, 1):
            yield item
            progress(done, total)


def report_to(
    progress: Progress | bool, description: str, unit: str = "it"
) -> AbstractContextManager[Progress | None]:
    """The callback of a computation: a given function, a progress bar for True, None for False."""
    if progress is True:
        return progress_bar(description, unit)
    if not (progress is None or progress is False or callable(progress)):
        raise StylemixError(
            f"got {shown(progress)} as the progress; expected a function, True or False; change it"
        )
    return nullcontext(None if progress is False else progress)


class _Bar:
    """Moves a bar; what was done before the first call does not count for its speed."""

    def __init__(self, bar: tqdm[None]) -> None:
        self.bar = bar

    def __call__(self, done: int, total: int, loss: float | None = None, /) -> None:
        bar = self.bar
        if bar.total != total:
            bar.reset(total)
            bar.initial = bar.n = max(done - 1, 0)
        if loss is not None:
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
        bar.update(done - bar.n)


class _Log:
    """Writes a line every ten seconds, and none for a task that is shorter."""

    def __init__(self, description: str, unit: str) -> None:
        self.description, self.unit = description, "" if unit == "it" else f" {unit}s"
        self.total = -1

    def __call__(self, done: int, total: int, loss: float | None = None, /) -> None:
        now = time.monotonic()
        if self.total != total:
            self.total, self.first, self.start, self.last = total, max(done - 1, 0), now, now
        if now - self.last < INTERVAL:
            return
        self.last, passed, made = now, now - self.start, done - self.first
        left = passed / made * (total - done) if made else 0.0
        loss_text = "" if loss is None else f", loss {loss:.3f}"
        messages.log(
            f"{self.description}: {done}/{total}{self.unit}{loss_text}, {passed:.0f} s, "
            f"about {left:.0f} s left"
        )
