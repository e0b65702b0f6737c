"""Progress of long computations: the callback after each step, and a progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from tqdm import tqdm


class Progress(Protocol):
    """A function of (steps done, total steps, and the loss if there is one)."""

    def __call__(self, done: int, total: int, loss: float = ..., /) -> None:
        """Called after each step."""


@contextmanager
def progress_bar(
    description: str, unit: str = "it", disable: bool | None = False, leave: bool = True
) -> Iterator[Progress]:
    """A progress bar on the terminal as a `Progress` callback; time counts from its first call.

    With `disable` None it is shown on terminals only; without `leave` it is removed at the end.
    """
    with tqdm(desc=description, unit=unit, disable=disable, leave=leave, smoothing=0.05) as bar:

        def update(done: int, total: int, loss: float | None = None, /) -> None:
            if bar.total != total:
                bar.reset(total)
            if loss is not None:
                bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update(done - bar.n)

        yield update


def report_to(
    progress: Progress | bool, description: str, unit: str = "it"
) -> AbstractContextManager[Progress | None]:
    """The callback of a computation: a given function, a progress bar for True, None for False."""
    if progress is True:
        return progress_bar(description, unit)
    return nullcontext(None if progress is False else progress)
