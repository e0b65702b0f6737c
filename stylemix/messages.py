"""What a command says: lines for people, or one line of JSON with the same facts.

Results go to standard output, everything about the run to standard error. A command calls the
functions below and never prints by itself, so that --json, --quiet and --verbose act alike
everywhere; called without a command, as from Python, they print.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from stylemix.errors import printable, shortened
from stylemix.version import __version__


@dataclass
class Messages:
    """The messages of one run of a command, and how they are shown."""

    command: str = ""
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    started: float = field(default_factory=time.monotonic)
    written: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    state: Path | None = None  # what the command goes on from if it is stopped and run again

    def keep(self, text: str) -> None:
        """Records a note of a command; without one, as from Python, there would be no end."""
        if self.command:
            self.notes.append(text)

    def document(self, error: str | None = None) -> dict[str, Any]:
        """The run as one JSON object; `error` is there only if the command failed."""
        about = {
            "command": self.command,
            "version": __version__,
            "seconds": round(time.monotonic() - self.started, 3),
            "written": self.written,
            "notes": self.notes,
            "result": self.result,
        }
        return about if error is None else about | {"error": error}

    def stopped(self) -> str:
        """What a stopped command says."""
        if self.state is not None and os.path.exists(self.state):
            return f"Stopped; the same command goes on from {self.state}."
        return "Stopped."

    def finish(self, error: str | None = None) -> None:
        """Prints the JSON line, if there is one to print."""
        if self.json:
            _print(json.dumps(_plain(self.document(error)), allow_nan=False), sys.stdout)


_current = Messages()


def current() -> Messages:
    """The messages of the command that runs."""
    return _current


@contextmanager
def session(command: str = "") -> Iterator[Messages]:
    """Collects the messages of a command until the block ends."""
    global _current
    before, _current = _current, Messages(command)
    try:
        yield _current
    finally:
        _current = before


def say(text: str) -> None:
    """Prints a result of one line or more on standard output; not with --json.

    All other functions print one line: a line break in a name of a file would forge another one.
    """
    if not _current.json:
        _print(text, sys.stdout)


def say_table(rows: Sequence[tuple[str, str]]) -> None:
    """Prints (label, text) rows as aligned lines of a result."""
    width = max((len(label) for label, _ in rows), default=0)
    for label, text in rows:
        say(shortened(printable(f"{label:<{width}}  {text}")))


def result(**values: Any) -> None:
    """Adds values to the result of --json: numbers, texts, paths, lists and dicts of them."""
    if _current.command:
        _current.result |= values


def wrote(path: str | os.PathLike[str], about: str = "", **values: Any) -> None:
    """Says that a file was written; `values` are its facts for --json, such as the identity."""
    _write_down({"path": os.fspath(path), **values})
    _tell(f"Wrote {os.fspath(path)}" + (f" ({about})" if about else ""))


def wrote_all(paths: Sequence[str | os.PathLike[str]], summary: str) -> None:
    """Says that several files were written, in one line: "Wrote" and the summary."""
    for path in paths:
        _write_down({"path": os.fspath(path)})
    _tell(f"Wrote {summary}")


def _write_down(file: dict[str, Any]) -> None:
    if _current.command:
        _current.written.append(file)


def _tell(text: str) -> None:
    if not _current.quiet:
        say(printable(text))


def note(text: str) -> None:
    """Says something about the run on standard error; not with --quiet."""
    _current.keep(text)
    if not _current.quiet:
        log(shortened(printable(text)))


def problem(text: str) -> None:
    """Says on standard error, even with --quiet, why one of several inputs is left out."""
    _current.keep(text)
    log(shortened(printable(text)))


def detail(text: str) -> None:
    """Says something on standard error that only --verbose asks for."""
    if _current.verbose:
        log(printable(text))


def show_error(text: str) -> None:
    """Prints the line of an error that ends the command."""
    log(shortened(printable(f"Error: {text}")))


def log(text: str) -> None:
    """Prints a line of progress on standard error; a full disk for it ends no long task."""
    try:
        _print(text, sys.stderr)
    except OSError as error:
        if error.errno == errno.EPIPE:  # nobody reads it, as after `| head`
            raise


def _print(text: str, stream: TextIO | None) -> None:
    if stream is None:  # closed before Python began; print() would take standard output instead
        return
    text = "\n".join(printable(line) for line in text.split("\n"))
    try:
        print(text, file=stream, flush=True)
    except UnicodeEncodeError:  # a file name on a terminal whose code page lacks its letters
        code = stream.encoding or "ascii"
        print(text.encode(code, "backslashreplace").decode(code), file=stream, flush=True)


def _plain(value: Any) -> Any:
    """A value as JSON has it: paths as texts, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    return _plain(value.item()) if hasattr(value, "item") else str(value)
