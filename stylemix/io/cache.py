"""The user's cache: folders, and tables of what is known about files."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError
from stylemix.io.atomic import write_bytes
from stylemix.ops import cache as ops_cache

Checksum = tuple[int, int]  # size in bytes, CRC-32
Stamp = tuple[int, int]  # size in bytes, time of the last change in ns
UNREADABLE: Checksum = (-1, 0)
SETTLED = 2 * 10**9  # ns; a younger file may change again within the grain of its date


def stamp_of(path: str | os.PathLike[str]) -> Stamp:
    """Size and date of a file, by which a change is noticed; (-1, 0) where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return UNREADABLE
    return status.st_size, status.st_mtime_ns


def cache_folder(name: str) -> Path | None:
    """A folder in STYLEMIX_CACHE or the user's cache; None without a home."""
    ops = ops_cache.usual()
    return None if ops is None else ops.parent / name


def load_table(path: Path | None) -> dict[str, Any]:
    """A JSON object from the cache, empty where there is none."""
    try:
        table = json.loads(path.read_bytes()) if path is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def save_table(path: Path | None, table: dict[str, Any]) -> None:
    """Keep a JSON object for the next time, where that is possible: it saves work only."""
    if path is not None:
        with suppress(StylemixError, OSError):
            write_bytes(path, json.dumps(table).encode("ascii"))
