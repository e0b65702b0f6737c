"""A short hash of a dataset's content: of the bytes of its files, not their paths or dates."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.images.sources import ImageSource
from stylemix.io.cache import (
    MIN_FILE_AGE,
    UNREADABLE,
    Checksum,
    cache_folder,
    load_table,
    save_table,
    stamp_of,
)
from stylemix.progress import track

READERS = 8  # files read at a time; on a network file system latency dominates
SHOW_AFTER = 2.0  # seconds


def fingerprint_of(checksums: Iterable[Checksum], *more: bytes) -> str:
    """Returns a hash of the images in order and of further bytes: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for size, crc in checksums:
        digest.update(f"{size} {crc}\n".encode())
    for part in more:
        digest.update(f"\n{len(part)} ".encode() + part)
    return digest.hexdigest()[:16]


def read_checksums(sources: Sequence[ImageSource]) -> list[Checksum]:
    """Returns size and CRC-32 of each image; (-1, 0) for an unreadable one.

    The directory of a zip contains them. Other files are read once: the user's cache stores the
    checksum for as long as size and date of a file are the same.
    """
    files = {os.path.abspath(s.path): s for s in sources if s.member is None}
    rows = {path: hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest() for path in files}
    store = _store(min(files)) if files else None
    known = load_table(store)
    stamps = {path: stamp_of(path) for path in files}
    todo = [path for path in files if known.get(rows[path], [])[:2] != [*stamps[path]]]
    started = time.time_ns()
    checksums = dict(zip(todo, _read_all([files[path] for path in todo]), strict=True))
    fresh = {
        rows[path]: [*stamps[path], checksums[path][1]]  # a hash: names are not for keeping
        for path in todo
        if checksums[path][0] == stamps[path][0] and stamps[path][1] < started - MIN_FILE_AGE
    }
    if fresh:
        save_table(store, known | fresh)
    for path in files:
        if path not in checksums:
            checksums[path] = (known[rows[path]][0], known[rows[path]][2])
    return [s.checksum() if s.member else checksums[os.path.abspath(s.path)] for s in sources]


def _store(first: str) -> Path | None:
    """Returns the cache file for a folder of images."""
    folder = cache_folder("checksums")
    name = hashlib.sha256(os.fsencode(os.path.dirname(first))).hexdigest()[:32]
    return None if folder is None else folder / f"{name}.json"


def _read_all(sources: Sequence[ImageSource]) -> list[Checksum]:
    pool = ThreadPoolExecutor(READERS)
    try:
        results = pool.map(_checksum, sources)
        return list(track(results, "Reading", len(sources), "file", leave=False, after=SHOW_AFTER))
    finally:
        pool.shutdown(cancel_futures=True)


def _checksum(source: ImageSource) -> Checksum:
    try:
        return source.checksum()
    except (OSError, StylemixError):  # StylemixError: a pipe or device
        return UNREADABLE
