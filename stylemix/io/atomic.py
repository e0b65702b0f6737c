"""Atomic writes: a reader sees the old or the new content of a file, never a part of it."""

import atexit
import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.io.files import StrPath, user_path
from stylemix.io.outputs import free_path, release

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]

_DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MAX_STEM_LENGTH = 40  # characters; keeps the temporary name within the 255 bytes of a file system

_unfinished: dict[Path, int] = {}  # temporary files, and the process that writes them
_new: set[Path] = set()  # files of `expect_new`


@contextmanager
def atomic_write(path: StrPath) -> Iterator[Path]:
    """Yields a temporary path beside `path`; it replaces `path` when the block succeeds.

    The temporary name has the extension of `path`, for writers that depend on it. When the block
    raises, the existing file is unchanged and the temporary file is removed. Missing parent folders
    are created. Raises StylemixError if the file cannot be written, and for a file of `expect_new`
    that is there by now.
    """
    target = _checked_target(user_path(path))
    temporary = target.with_name(
        f".{target.stem[:_MAX_STEM_LENGTH]}.{secrets.token_hex(6)}.tmp{target.suffix}"
    )
    _unfinished[temporary] = os.getpid()
    try:
        try:
            mode = _create(temporary, target)
        except OSError as error:
            raise _cannot_write(path, error) from error
        yield temporary
        _commit(temporary, target, mode)
    except OSError as error:
        # Any other OSError may come from the caller's own work in the block, such as reading.
        if error.errno in _DISK_FULL_ERRORS:
            raise _cannot_write(path, error) from error
        raise
    except Exception as error:
        # safetensors reports the system's error code only in its message.
        match = re.search(r"\(os error (\d+)\)", str(error))
        number = int(match[1]) if match else 0
        if number in _DISK_FULL_ERRORS:
            cause = OSError(number, os.strerror(number))  # as of other writers, for who asks
            cause.__cause__ = error
            raise _cannot_write(path, cause) from cause
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        _unfinished.pop(temporary, None)


@atexit.register
def _remove_unfinished() -> None:
    """Removes what a signal left behind between two lines of `atomic_write`."""
    for temporary, process in list(_unfinished.items()):
        if process == os.getpid():  # a copy of this process may end earlier
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def check_writable(path: StrPath, is_folder: bool = False) -> None:
    """Raises the StylemixError of `atomic_write` if its folder shows before the work that it fails.

    With `is_folder` it is for files in the folder `path`. Missing folders would be created.
    """
    place = Path(os.path.realpath(path))
    place = place if is_folder else place.parent
    while not os.path.lexists(place):
        place = place.parent
    may_write = os.access(place, os.W_OK | os.X_OK)
    number = errno.ENOTDIR if not place.is_dir() else 0 if may_write else errno.EACCES
    if number:
        raise _cannot_write(path, OSError(number, os.strerror(number)))


def expect_new(paths: Iterable[Path]) -> None:
    """Lets `atomic_write` create these files only, and keep what others write there meanwhile.

    That lasts until it has created them, or until `forget_new`.
    """
    _new.update(Path(os.path.realpath(path)) for path in paths)


def forget_new() -> None:
    """Ends all `expect_new`."""
    _new.clear()


def write_bytes(path: StrPath, data: bytes) -> None:
    """Writes `data` to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: StrPath, text: str) -> None:
    r"""Writes `text` to `path` atomically, as UTF-8 with "\n" line ends."""
    write_bytes(path, as_utf8(text))


def as_utf8(text: str) -> bytes:
    r"""The bytes of a text as UTF-8, with \udcff and the like for halves of letters.

    Names of files that are not UTF-8 have these, and so may files of others; JSON has the same
    form of them.
    """
    return text.encode("utf-8", "backslashreplace")


def write_json(path: StrPath, value: Json) -> None:
    """Writes `value` to `path` atomically as indented JSON; ValueError for NaN and infinities."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _checked_target(path: Path) -> Path:
    """Resolves links and creates the parent folder; StylemixError for a folder or a device."""
    try:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        kind = target.stat().st_mode if target.exists() else stat.S_IFREG
    except (OSError, RuntimeError) as error:  # RuntimeError: a cycle of links
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
    """Creates the empty temporary file and returns the permission bits for the final file."""
    there = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    # Who may not read the file that is replaced may not read the new one before it is whole.
    mode = 0o666 if there is None else 0o600 | (there & 0o666)
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode) if there is None else there
    finally:
        os.close(handle)


def _commit(temporary: Path, target: Path, mode: int) -> None:
    """Flushes the temporary file to disk, then renames it to the target."""
    with suppress(PermissionError):
        temporary.chmod(mode)
    with temporary.open("rb+" if os.name == "nt" else "rb") as handle:
        os.fsync(handle.fileno())
    try:
        if target in _new:
            _create_new(temporary, target)
        else:
            os.replace(temporary, target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    if os.name == "posix":  # the rename is durable once the folder is flushed too
        with suppress(OSError):
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _create_new(temporary: Path, target: Path) -> None:
    """Renames a file to a name that is new; else to the next free one, with a StylemixError."""
    kept = target
    while True:
        try:
            try:
                os.link(temporary, kept)
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                os.close(os.open(kept, os.O_CREAT | os.O_EXCL))
                os.replace(temporary, kept)
            break
        except FileExistsError:
            kept = free_path(target)
    _new.discard(target)
    release(target)
    if kept != target:
        raise StylemixError(
            f"got {target}, which another program wrote meanwhile; expected it to be free still; "
            f"it is kept, and the result of this command is {kept}"
        )


def _cannot_write(path: StrPath, error: Exception) -> StylemixError:
    reason = getattr(error, "strerror", None) or str(error)
    return StylemixError(
        f"cannot write {path}: got {reason!r}; expected a writable folder with free space; "
        "choose another output or free some space"
    )
