"""How the process keeps memory: without giving it back after every tensor."""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3) in glibc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_memory() -> bool:
    """Lets the C library keep freed memory for the next tensor; returns whether it could.

    By default glibc maps every large tensor anew and unmaps it after use, and the kernel then
    fills it with zeros page by page: on a CPU this took more time than the arithmetic of a 256 px
    generator. The process keeps what it once needed; its peak stays the same. Called by the
    command line, never by an import. Only glibc has this; elsewhere nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 * 2**20))
    done = [mallopt(name, value) == 1 for name, value in settings]  # all of them, whatever fails
    return all(done)
