"""A lock between the processes of one machine that cannot outlive the process that holds it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stylemix.ops.progress import Line

try:
    import fcntl
except ImportError:  # Windows, where nothing is compiled
    fcntl = None  # type: ignore[assignment]

SAY_AFTER = 2.0  # seconds of waiting without a word
PATIENCE = 900.0  # seconds; then the holder is taken for hung, and the work is done twice
PAUSE = 0.05


@contextmanager
def one_at_a_time(path: Path, waiting_for: str) -> Iterator[None]:
    """Let one process at a time into the block; a process that dies in it frees the next one.

    The lock is the kernel's (flock), so there are no stale ones: `path` may stay behind, which
    means nothing. It only saves work: where it cannot be had, or the holder is stuck, the block
    runs all the same, and what it does must bear that. After two seconds the wait is explained
    on standard error, "... waiting for `waiting_for`".
    """
    handle = _open(path)
    try:
        if handle is not None:
            with Line(f"waiting for {waiting_for}", after=SAY_AFTER) as line:
                _wait(handle, line)
        yield
    finally:
        if handle is not None:
            _free(handle)


def _open(path: Path) -> IO[str] | None:
    if fcntl is None:
        return None
    try:
        return path.open("a", encoding="utf-8")  # closed in programs that are started meanwhile
    except OSError:
        return None


def _wait(handle: IO[str], line: Line) -> None:
    start = time.monotonic()
    while time.monotonic() - start < PATIENCE:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError:
            return  # a file system without locks
        line.tick()
        time.sleep(PAUSE)


def _free(handle: IO[str]) -> None:
    # Said aloud, since a forked child may hold a copy of the handle for much longer.
    try:
        fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError:
        pass
    finally:
        handle.close()
