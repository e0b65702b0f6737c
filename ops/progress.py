"""A progress message on standard error during long operations."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import TracebackType

ERASE = "\x1b[K"  # clears the rest of the line
_silent = False


@contextmanager
def silenced() -> Iterator[None]:
    """Leaves all messages out while the block runs."""
    global _silent
    before, _silent = _silent, True
    try:
        yield
    finally:
        _silent = before


class Line:
    """Shows an activity and its duration: on a terminal in one line, else in two.

    The line on a terminal is rewritten every second. There is no thread: the caller calls `tick`
    regularly. Of the processes of one launcher only local rank 0 prints.
    """

    def __init__(self, doing: str, about: int = 0, after: float = 0.0) -> None:
        """Takes the expected seconds (`about`) and the seconds before the first message."""
        self.doing, self.about, self.after = doing, about, after
        self.start, self.shown = monotonic(), -1
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        self.stream = sys.stderr if first and not _silent else None
        dumb = os.environ.get("TERM") == "dumb"
        self.rewrites = self.stream is not None and self.stream.isatty() and not dumb

    def __enter__(self) -> Line:
        return self

    def tick(self) -> None:
        """Updates the seconds; a line that never ticks prints nothing."""
        passed = monotonic() - self.start
        if passed < self.after or int(passed) == self.shown:
            return
        text = self.doing + (", once" if self.about else "")
        if self.rewrites:
            of = f" of about {self.about} s" if int(passed) <= self.about and self.about else ""
            self._write(f"{text}: {int(passed)} s{of}")
        elif self.shown < 0:
            self._write(text + (f" (about {self.about} s)" if self.about else ""), "\n")
        self.shown = int(passed)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.shown >= 0:
            ended = "took" if kind is None else "failed after"
            ended = ended if kind is None or issubclass(kind, Exception) else "stopped after"
            self._write(f"{self.doing} {ended} {monotonic() - self.start:.0f} s", "\n")

    def _write(self, text: str, end: str = "") -> None:
        if self.stream is None:
            return
        text = f"stylemix: {text}"
        if self.rewrites:  # a line that wraps could not be rewritten
            text = f"\r{text[: shutil.get_terminal_size().columns - 1]}{ERASE}"
        with suppress(OSError, ValueError):  # the stream may be closed
            self.stream.write(text + end)
            self.stream.flush()
