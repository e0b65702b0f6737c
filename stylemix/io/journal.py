"""The work file of a long task: finished items by key, so that the same command resumes it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError

_COMMIT_INTERVAL = 2.0  # seconds; a killed process loses at most this much work


class WorkFile:
    """An SQLite file that stores a JSON value and a list of byte strings for each key."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._committed_at = time.monotonic()
        self._database = sqlite3.connect(path, timeout=1, isolation_level=None)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS parts (key TEXT PRIMARY KEY, value TEXT)"
        )
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS data (key TEXT, number INTEGER, bytes BLOB, "
            "PRIMARY KEY (key, number))"
        )
        self._database.execute("BEGIN IMMEDIATE")  # takes the lock: one process at a time

    def get(self, key: str) -> Any:
        """Returns the JSON value of a finished item; None if there is none."""
        row = self._database.execute("SELECT value FROM parts WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, value: Any, data: Sequence[bytes] = ()) -> None:
        """Stores a finished item; a call two seconds or more after the last commit commits it."""
        rows = [(key, number, item) for number, item in enumerate(data)]
        self._database.executemany("INSERT OR REPLACE INTO data VALUES (?, ?, ?)", rows)
        row = (key, json.dumps(value))
        self._database.execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", row)
        if time.monotonic() - self._committed_at > _COMMIT_INTERVAL:
            self._database.commit()
            self._database.execute("BEGIN IMMEDIATE")
            self._committed_at = time.monotonic()

    def data(self, key: str, number: int) -> bytes:
        """Returns byte string `number` of a finished item."""
        query = "SELECT bytes FROM data WHERE key = ? AND number = ?"
        content: bytes = self._database.execute(query, (key, number)).fetchone()[0]
        return content

    def close(self) -> None:
        """Commits and closes the file."""
        self._database.commit()
        self._database.close()


@contextmanager
def open_work(path: Path) -> Iterator[WorkFile]:
    """Opens or creates a work file; its items are committed even if the block raises.

    Raises StylemixError if it is no work file, is in use by another process, or the disk is full.
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
            "free disk space; wait, free some space, or remove the file to start again"
        ) from error
