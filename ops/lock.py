"""A lock between processes of one machine that is released when its holder dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stylemix.ops.progress import Line

try:
    import fcntl
except ImportError:  # Windows, where ops are not compiled
    fcntl = None  # type: ignore[assignment]

SAY_AFTER = 2.0  # seconds of waiting before a message
PATIENCE = 900.0  # seconds after which the holder is taken for hung, and the work is repeated
PAUSE = 0.05  # seconds between attempts


@contextmanager
def one_at_a_time(path: Path, waiting_for: str) -> Iterator[None]:
    """Lets one process at a time into the block; the lock of a process that dies is released.

    The lock is the kernel's (flock), so it is never stale; the file at `path` may remain. It only
    avoids repeated work: without locks, or when the holder hangs, the block runs anyway, and must
    be safe to run concurrently. After two seconds a message "waiting for `waiting_for`" is
    printed to standard error.
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
        return path.open("a", encoding="utf-8")  # not inherited by child processes
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
    # Unlocks explicitly, since a forked child may hold a copy of the handle for much longer.
    try:
        fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError:
        pass
    finally:
        handle.close()
