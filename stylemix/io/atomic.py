"""Writing files so that a reader sees the former content or the new one, never a half."""

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from stylemix.errors import StylemixError

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LONGEST_STEM = 40  # characters; keeps the temporary name within the 255 bytes of a file system


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well it takes the place of `path`.

    The temporary name keeps the extension of `path`, so that writers that look at it work. When
    the block raises, the former file stays as it was and the temporary one is removed. Missing
    parent folders are made. Raises StylemixError where nothing can be written.
    """
    target = _checked_target(Path(path))
    temporary = target.with_name(
        f".{target.stem[:_LONGEST_STEM]}.{secrets.token_hex(6)}.tmp{target.suffix}"
    )
    try:
        mode = _create(temporary, target)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        _settle(temporary, target, mode)
    except OSError as error:
        # Other OSErrors of the block belong to its own work (reading something, say).
        if error.errno in _NO_ROOM:
            raise _cannot_write(path, error) from error
        raise
    except Exception as error:
        # safetensors gives the system's error neither as a cause nor as a number, only in its text.
        match = re.search(r"\(os error (\d+)\)", str(error))
        number = int(match[1]) if match else 0
        if number in _NO_ROOM:
            raise _cannot_write(path, OSError(number, os.strerror(number))) from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8 with plain newlines."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Json) -> None:
    """Write `value` to `path` atomically as readable JSON; NaN and infinities are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _checked_target(path: Path) -> Path:
    """Return the file to replace: links followed, its folder made, no folder or device itself."""
    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        kind = target.stat().st_mode if target.exists() else stat.S_IFREG
    except (OSError, RuntimeError) as error:  # RuntimeError: links that go in a circle
        raise _cannot_write(path, error) from error
    if stat.S_ISDIR(kind):
        raise StylemixError(f"cannot write {path}: got a folder; expected a file name; add one")
    if not stat.S_ISREG(kind):
        # Renaming onto a device such as /dev/null would replace the device itself.
        raise StylemixError(
            f"cannot write {path}: got a device or pipe; expected a file; give another name"
        )
    return target


def _create(temporary: Path, target: Path) -> int:
    """Make the empty temporary file and return the mode that the final file is to have."""
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        like = target.stat() if target.exists() else os.fstat(handle)
    finally:
        os.close(handle)
    return stat.S_IMODE(like.st_mode)


def _settle(temporary: Path, target: Path, mode: int) -> None:
    """Force the temporary file to the disk, then rename it onto the target."""
    with suppress(PermissionError):
        temporary.chmod(mode)
    with temporary.open("rb+" if os.name == "nt" else "rb") as handle:
        os.fsync(handle.fileno())
    try:
        os.replace(temporary, target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    if os.name == "posix":  # the rename is safe once the folder is on the disk too
        with suppress(OSError):
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _cannot_write(path: str | os.PathLike[str], error: Exception) -> StylemixError:
    reason = getattr(error, "strerror", None) or str(error)
    return StylemixError(
        f"cannot write {path}: got {reason!r}; expected a folder with room that you may write to; "
        "choose another output or free it"
    )
