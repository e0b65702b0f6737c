"""What a data set holds, as a short hash: from the bytes of its files, not their place or date."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stylemix.errors import StylemixError
from stylemix.images.sources import ImageSource
from stylemix.io.atomic import write_bytes
from stylemix.ops import cache as ops_cache

Checksum = tuple[int, int]  # size in bytes, CRC-32
Stamp = tuple[int, int]  # size in bytes, time of the last change in ns

UNREADABLE: Checksum = (-1, 0)
READERS = 8  # files at a time: on a network file system waiting takes longer than reading
SHOW_AFTER = 2.0  # seconds
SETTLED = 2 * 10**9  # ns; a younger file may change again within the grain of its date


def fingerprint_of(checksums: Iterable[Checksum], *more: bytes) -> str:
    """Hash of the pictures in their order, and of what else matters: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for size, crc in checksums:
        digest.update(f"{size} {crc}\n".encode())
    for part in more:
        digest.update(f"\n{len(part)} ".encode() + part)
    return digest.hexdigest()[:16]


def read_checksums(sources: Sequence[ImageSource]) -> list[Checksum]:
    """Size and CRC-32 of each picture; (-1, 0) for one that cannot be read.

    The directory of a zip knows them. Other files are read once: the user's cache keeps what was
    found for as long as size and date of a file stay the same.
    """
    files = {os.path.abspath(s.path): s for s in sources if s.member is None}
    store = _store(min(files)) if files else None
    known = load_table(store)
    stamps = {path: stamp_of(path) for path in files}
    todo = [path for path in files if known.get(path, [])[:2] != [*stamps[path]]]
    started = time.time_ns()
    found = dict(zip(todo, _read_all([files[path] for path in todo]), strict=True))
    fresh = {
        path: [*stamps[path], found[path][1]]
        for path in todo
        if found[path][0] == stamps[path][0] and stamps[path][1] < started - SETTLED
    }
    if fresh:
        save_table(store, known | fresh)
    for path in files:
        if path not in found:
            found[path] = (known[path][0], known[path][2])
    return [s.checksum() if s.member else found[os.path.abspath(s.path)] for s in sources]


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


def _store(first: str) -> Path | None:
    """The file of the cache for a folder of pictures."""
    folder = cache_folder("checksums")
    name = hashlib.sha256(os.fsencode(os.path.dirname(first))).hexdigest()[:32]
    return None if folder is None else folder / f"{name}.json"


def _read_all(sources: Sequence[ImageSource]) -> list[Checksum]:
    pool = ThreadPoolExecutor(READERS)
    try:
        results = pool.map(_checksum, sources)
        return list(tqdm(results, "Reading", len(sources), delay=SHOW_AFTER, leave=False))
    finally:
        pool.shutdown(cancel_futures=True)


def _checksum(source: ImageSource) -> Checksum:
    try:
        return source.checksum()
    except OSError:
        return UNREADABLE
