"""One training at a time in a run folder."""

from __future__ import annotations

import atexit
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from stylemix.errors import StylemixError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
# Temporary files of `atomic_write` for the files that only a training writes.
UNFINISHED = re.compile(r"\.(state-|snapshot-|fakes-|best\.).*[0-9a-f]{12}\.tmp\.(safetensors|png)")
LONGEST = 200  # characters of a lock file that a message quotes

_claimed: dict[Path, IO[str]] = {}


@contextmanager
def run_folder(folder: Path) -> Iterator[None]:
    """Makes a run folder; removes it again if it is new and the training cannot begin."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except Exception:
        lock = folder.absolute() / NAME
        with suppress(OSError):  # another rank has removed it
            if is_new and os.listdir(folder) in ([], [NAME]):
                if (handle := _claimed.pop(lock, None)) is not None:
                    handle.close()
                lock.unlink(missing_ok=True)
                folder.rmdir()
        raise


def claim(folder: Path) -> None:
    """Claims a run folder for this process until it ends; StylemixError if another one has it.

    The lock is the kernel's, so it ends with its process, however that ends, and worker processes
    do not keep it. Without such locks, on Windows and on some network drives, nothing is claimed.
    """
    path = folder.absolute() / NAME
    if fcntl is None or path in _claimed:
        return
    handle = path.open("a+", encoding="utf-8", errors="replace")
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        handle.seek(0)
        owner = " ".join(handle.read(LONGEST).split()) or "another process"
        handle.close()
        raise StylemixError(
            f"got the run folder {folder}, in which {owner} trains; expected one training at a "
            "time; wait until it ends, or choose another --output"
        ) from error
    except OSError:
        handle.close()
        return
    handle.truncate(0)
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    handle.write(f"process {os.getpid()} on {socket.gethostname()} since {when}\n")
    handle.flush()
    _claimed[path] = handle
    atexit.register(handle.close)
    _clear(path.parent)


def _clear(folder: Path) -> None:
    """Removes unfinished files of trainings that were killed: a state may have gigabytes."""
    for path in folder.glob(".*.tmp.*"):
        if UNFINISHED.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()
