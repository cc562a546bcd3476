"""Numbers of files that a worker's job has taken, so that no other worker of the same server takes them too.

Two workers that save under one prefix at the same time would look into the folder, both find the same next number, and
the later file would replace the earlier one. What a job took is kept in one SQLite file of the server's run, whose lock
holds between processes and ends with them. Knows no folders and no jobs.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

CLAIMS_FILE = "claims.sqlite3"
PATIENCE_S = 60.0  # for the lock: somebody else looks into a folder of thousands

_SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (
    place  TEXT NOT NULL,
    worker TEXT NOT NULL,
    free   INTEGER NOT NULL,
    PRIMARY KEY (place, worker)
) WITHOUT ROWID
"""
_FREE = "SELECT MAX(free) FROM claims WHERE place = ? AND worker <> ?"
_TAKE = "INSERT INTO claims VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET free = MAX(free, excluded.free)"


class Claims:
    """What the jobs of one worker took, beside those of the others. Safe to use from several threads."""

    def __init__(self, path: Path, worker: str) -> None:
        """`worker` is whose claims these are; what a process of that name took before, which is gone, is released."""
        self._worker = worker
        self._lock = threading.Lock()
        self._holds = True
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=PATIENCE_S)
        self._db.execute("PRAGMA synchronous = OFF")  # nobody needs it after this machine's end
        self._db.execute(_SCHEMA)
        self.release()

    def take(self, place: str, listed: Callable[[], int], count: int) -> int:
        """The first of `count` numbers for files of a place that are this worker's until `release`.

        `listed` tells the first number that no file has yet; it is asked while no other worker can take or release.
        """
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                (free,) = self._db.execute(_FREE, (place, self._worker)).fetchone()
                first = max(listed(), free or 0)
                self._db.execute(_TAKE, (place, self._worker, first + count))
            finally:
                self._db.execute("COMMIT")
            self._holds = True
        return first

    def release(self) -> None:
        """The worker's job has ended: its files are there, or will never be."""
        with self._lock:
            if self._holds:
                self._db.execute("DELETE FROM claims WHERE worker = ?", (self._worker,))
            self._holds = False

    def close(self) -> None:
        """Close the file."""
        self._db.close()
