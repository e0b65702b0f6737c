"""Writes many files as one zip or folder, atomically and with reproducible bytes."""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.io.atomic import atomic_write

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip can store
_UNIX, _MODE = 3, 0o100644  # operating system and permissions stored for members


def is_zip_name(path: Path) -> bool:
    """Returns whether `path` is a zip by its extension; any other path is a folder."""
    return path.suffix.lower() == ".zip"


def check_archive(path: Path) -> None:
    """Raises StylemixError where `write_archive` would reject `path`, before long work."""
    if is_zip_name(path):
        if path.is_dir():
            raise StylemixError(f"{path}: got a folder; expected a zip; choose another name")
        return
    empty = path.is_dir() and not any(path.iterdir())
    if path.name in ("", "..") or (path.exists() and not empty):
        raise StylemixError(
            f"{path}: got a folder or file that exists; expected a .zip or a new folder; "
            "choose another name or remove it"
        )


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Writes (name, bytes) pairs in order: uncompressed in a zip, or as files of a new folder.

    `path` appears only when everything is written.
    """
    check_archive(path)
    if is_zip_name(path):
        with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, data in members:
                info = zipfile.ZipInfo(name, _DATE)
                info.create_system, info.external_attr = _UNIX, _MODE << 16
                archive.writestr(info, data)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(6)}.tmp")
    try:
        for name, data in members:
            file = temporary / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        if path.is_dir():
            path.rmdir()  # empty, checked by `check_archive`
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
