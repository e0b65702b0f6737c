"""A line on standard error while something takes long, so that nobody takes silence for a hang."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from time import monotonic
from types import TracebackType

ERASE = "\x1b[K"  # what a progress bar left on the rest of the line


class Line:
    """Says what this process is about, and for how long: on a terminal in one line, else in two.

    The line on a terminal is rewritten with every second. There is no thread: who works or waits
    calls `tick` now and then. Of the processes that one launcher started only the first speaks.
    """

    def __init__(self, doing: str, about: int = 0, after: float = 0.0) -> None:
        """Takes the seconds that it takes if it is done once, and those without a word."""
        self.doing, self.about, self.after = doing, about, after
        self.start, self.shown = monotonic(), -1
        self.stream = sys.stderr if os.environ.get("LOCAL_RANK", "0") == "0" else None
        dumb = os.environ.get("TERM") == "dumb"
        self.rewrites = self.stream is not None and self.stream.isatty() and not dumb

    def __enter__(self) -> Line:
        return self

    def tick(self) -> None:
        """Shows the seconds, if they are not shown yet; a line that never ticked says nothing."""
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
        with suppress(OSError, ValueError):  # who closed it does not want to know
            self.stream.write(text + end)
            self.stream.flush()
