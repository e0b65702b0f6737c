"""The work file of a long task: finished parts by key, so that the same command continues."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError

_COMMIT_EVERY = 2.0  # seconds of work that a killed process may lose


class WorkFile:
    """One SQLite file: for each key a JSON value and a row of byte strings."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._saved = time.monotonic()
        self._base = sqlite3.connect(path, timeout=1, isolation_level=None)
        self._base.execute("CREATE TABLE IF NOT EXISTS parts (key TEXT PRIMARY KEY, value TEXT)")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS data (key TEXT, number INTEGER, bytes BLOB, "
            "PRIMARY KEY (key, number))"
        )
        self._base.execute("BEGIN IMMEDIATE")  # takes the lock: one process at a time

    def get(self, key: str) -> Any:
        """Return the JSON value of a finished part, None where there is none."""
        row = self._base.execute("SELECT value FROM parts WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, value: Any, data: Sequence[bytes] = ()) -> None:
        """Keep a finished part; it is on the disk within two seconds of further calls."""
        rows = [(key, number, item) for number, item in enumerate(data)]
        self._base.executemany("INSERT OR REPLACE INTO data VALUES (?, ?, ?)", rows)
        row = (key, json.dumps(value))
        self._base.execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", row)
        if time.monotonic() - self._saved > _COMMIT_EVERY:
            self._base.commit()
            self._base.execute("BEGIN IMMEDIATE")
            self._saved = time.monotonic()

    def data(self, key: str, number: int) -> bytes:
        """Return one byte string of a finished part."""
        query = "SELECT bytes FROM data WHERE key = ? AND number = ?"
        found: bytes = self._base.execute(query, (key, number)).fetchone()[0]
        return found

    def close(self) -> None:
        """Save what is there and close the file."""
        self._base.commit()
        self._base.close()


@contextmanager
def open_work(path: Path) -> Iterator[WorkFile]:
    """Open or make a work file, and save what is in it however the block ends.

    Raises StylemixError for a file that is none, that another process uses, and for a full disk.
    """
    try:
        work = WorkFile(path)
        try:
            yield work
        finally:
            work.close()
    except sqlite3.Error as error:
        raise StylemixError(
            f"{path}: got {str(error)!r}; expected a work file that no other process uses, and "
            "room on the disk; wait, free some, or remove the file to start again"
        ) from error
