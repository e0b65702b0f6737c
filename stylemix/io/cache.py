"""The user's cache: its folders, and JSON tables of file metadata."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError
from stylemix.io.atomic import write_bytes
from stylemix.io.files import StrPath, read_file
from stylemix.io.json_text import parse_json
from stylemix.ops import cache as ops_cache

Checksum = tuple[int, int]  # size in bytes, CRC-32
Stamp = tuple[int, int]  # size in bytes, modification time in ns
UNREADABLE: Checksum = (-1, 0)
MIN_FILE_AGE = 2 * 10**9  # ns; a younger file may change again without a new modification time


def stamp_of(path: StrPath) -> Stamp:
    """Returns size and modification time of a file, to detect changes; (-1, 0) if it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return UNREADABLE
    return status.st_size, status.st_mtime_ns


def cache_folder(name: str) -> Path | None:
    """Returns a folder in STYLEMIX_CACHE or the user's cache; None without a home directory.

    The folder above it is made, which nobody else may write to whatever the umask: compiled ops are
    not loaded from a folder that everybody may change.
    """
    ops = ops_cache.usual()
    if ops is None:
        return None
    with suppress(OSError):
        ops.parent.parent.mkdir(parents=True, exist_ok=True)
        ops.parent.mkdir(0o755)
    return ops.parent / name


def make_private(folder: Path) -> None:
    """Makes a folder for what is kept of images; if it is new, nobody else may enter it."""
    try:
        folder.mkdir(0o700, exist_ok=True)
    except FileNotFoundError:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(0o700, exist_ok=True)


def load_table(path: Path | None) -> dict[str, Any]:
    """Loads a JSON object from the cache; an empty one if it is missing or damaged."""
    try:
        table = parse_json(read_file(path)) if path is not None else {}
    except (OSError, ValueError, StylemixError):
        return {}
    return table if isinstance(table, dict) else {}


def save_table(path: Path | None, table: dict[str, Any]) -> None:
    """Stores a JSON object in the cache; a failure is ignored, since the cache only saves time."""
    if path is not None:
        with suppress(StylemixError, OSError):
            make_private(path.parent)
            write_bytes(path, json.dumps(table).encode("ascii"))
