"""The memory of a process: its peak, its end, what is kept for later tensors and given back.

Without the GNU C library nothing is kept or given back.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # parameters of mallopt(3) in glibc

Item = TypeVar("Item")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on any device."""
    # By name, since importing torch here would slow `--help` down.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, ImportError):  # of a library, under `ulimit -v`
        return any(text in str(error) for text in ("failed to map segment", "allocate memory"))
    # torch has that class for accelerators only: its CPU allocator raises a plain RuntimeError,
    # which only its text distinguishes.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def peak_memory() -> int | None:
    """The peak memory of the process in bytes; None on Windows, which does not report it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_memory() -> bool:
    """Lets the C library reuse freed memory for later tensors; returns whether it succeeded.

    By default glibc maps every large tensor anew and unmaps it after use, and the kernel then
    fills it with zeros page by page: on a CPU this took longer than the arithmetic of a 256 px
    generator. The process does not return memory that it has freed; its peak is the same. Called
    by the command line, never by an import.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 * 2**20))
    results = [mallopt(name, value) == 1 for name, value in settings]  # set all, even if one fails
    return all(results)


def release_memory() -> bool:
    """Gives the memory that is free back to the system; returns whether there was any."""
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).malloc_trim(0))


def releasing(items: Iterable[Item]) -> Iterator[Item]:
    """The items; memory is given back after each.

    Photos of many sizes leave gaps between tensors, which grew to a quarter of the memory of 500
    avatars, and to an eighth where it was given back after each 16.
    """
    for item in items:
        yield item
        release_memory()
