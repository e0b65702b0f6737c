"""The door through which files are opened: regular files only, and nothing that would wait."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from stylemix.errors import StylemixError

StrPath = str | os.PathLike[str]

MAX_BYTES = 2**29  # of a file that is read at once, unless the reader knows better

# A pipe without a writer would be waited for; Windows has neither such pipes nor the flag.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def user_path(path: StrPath) -> Path:
    """The path that a user names, with ~ for their folder; StylemixError for what is no path."""
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(name, str):  # a path may be of bytes
        raise StylemixError(
            f"got {type(path).__name__} as a file; expected its name or path; change it"
        )
    if not name:  # which would be the current folder
        raise StylemixError("got an empty name; expected that of a file or folder; give it")
    return Path(os.path.expanduser(name))


def open_file(path: StrPath) -> BinaryIO:
    """Opens a regular file for reading; OSError for one that is missing or may not be read.

    Raises StylemixError for a folder, a pipe, a socket and a device, links to them included: these
    may never end, or never begin.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except ValueError as error:  # a NUL character in the name
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise StylemixError(f"{path}: got a folder; expected a file; name one of its files")
        if not stat.S_ISREG(kind):
            raise StylemixError(f"{path}: got a device or pipe; expected a file; name one")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: StrPath, most: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file; errors as of `open_file`, and for more bytes than `most`."""
    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(size + 1) if size <= most else b""
        if len(data) > size:  # it grows, or is one of the kernel's, which say no size and may last
            while len(data) <= most and (more := stream.read(len(data) + 2**16)):
                data += more
    if max(size, len(data)) > most:
        raise too_long(path, most)
    return data


def too_long(path: StrPath, most: int) -> StylemixError:
    """Returns the error for a file of more bytes than are ever read."""
    return StylemixError(
        f"{path}: got a file of more than {most // 2**20} MB; expected a smaller one; check that "
        "it is the right file"
    )


def damaged(path: StrPath) -> StylemixError:
    """Returns the error for a truncated or damaged file."""
    return StylemixError(
        f"{path}: got a truncated or damaged file; expected a complete one; "
        "download or copy it again"
    )
