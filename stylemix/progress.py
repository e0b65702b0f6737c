"""How far a long computation is: what it calls after each step, and a bar that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from tqdm import tqdm


class Progress(Protocol):
    """Any function that takes (steps done, steps in all, and the loss where there is one)."""

    def __call__(self, done: int, total: int, loss: float = ..., /) -> None:
        """Is called after each step."""


@contextmanager
def progress_bar(
    description: str, unit: str = "it", disable: bool | None = False, leave: bool = True
) -> Iterator[Progress]:
    """A bar on the terminal as a `Progress`; time counts from its first call.

    With `disable` None it shows on terminals only; without `leave` it vanishes at the end.
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
    """What a computation calls: a function as it is, a bar for True, nothing for False."""
    if progress is True:
        return progress_bar(description, unit)
    return nullcontext(None if progress is False else progress)
