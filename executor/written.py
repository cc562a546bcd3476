"""The files in the output folder that jobs wrote, so that they can be told from everybody else's. Knows no rules.

One SQLite file beside the queue's; a file is known by its path below the output folder, its size and its time of
change: one that was put in its place, or changed, is the user's. Use an account from one thread at a time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from executor.files import MODEL_SUFFIXES
from executor.leftovers import files_of

ACCOUNT_FILE = "written.sqlite3"
VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS written (
    name     TEXT PRIMARY KEY,
    nbytes   INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS written_order ON written (mtime_ns, name, nbytes);
"""
_NEWER = "INSERT INTO written VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET nbytes = excluded.nbytes, "
_INSERT = _NEWER + "mtime_ns = excluded.mtime_ns WHERE excluded.mtime_ns >= mtime_ns"
_PAGE = "SELECT mtime_ns, name, nbytes FROM written WHERE (mtime_ns, name) > (?, ?) ORDER BY mtime_ns, name LIMIT ?"


@dataclass(frozen=True, slots=True, order=True)
class Written:
    """A file as its job left it; the oldest comes first. `name` is its path below the output folder, with `/`."""

    mtime_ns: int
    name: str
    nbytes: int


class Account:
    """What jobs wrote into one output folder, but for models, which nobody wants to lose: told by their endings.

    sqlite3.Error where its file cannot be used.
    """

    def __init__(self, path: Path, output: Path) -> None:
        self._output = normal(output)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise sqlite3.DatabaseError(f"a newer Weft wrote {path} (schema {version}, this one knows {VERSION})")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def take(self, records: Iterable[Path]) -> None:
        """Take records of jobs that ended into account, in one transaction, and remove them."""
        taken = list(records)
        rows = [row for record in taken for row in self._rows(record)]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_INSERT, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._db.execute("ROLLBACK")
            raise
        for record in taken:
            with suppress(OSError):
                record.unlink()

    def total(self) -> tuple[int, int]:
        """How many files, and how many bytes, as far as is known without looking."""
        count, nbytes = self._db.execute("SELECT COUNT(*), COALESCE(SUM(nbytes), 0) FROM written").fetchone()
        return count, nbytes

    def page(self, after: Written | None, most: int) -> list[Written]:
        """The oldest files after one."""
        place = (after.mtime_ns, after.name) if after else (-(2**63), "")
        return [Written(*row) for row in self._db.execute(_PAGE, (*place, most))]

    def forget(self, files: Iterable[Written]) -> None:
        """Files are gone, or are no longer what a job wrote."""
        self._db.execute("BEGIN IMMEDIATE")
        rows = [(file.name, file.mtime_ns) for file in files]
        self._db.executemany("DELETE FROM written WHERE name = ? AND mtime_ns = ?", rows)
        self._db.execute("COMMIT")

    def _rows(self, record: Path) -> Iterator[tuple[str, int, int]]:
        for path, nbytes, mtime_ns in files_of(record):
            place = normal(Path(path))
            if place.suffix.lower() in MODEL_SUFFIXES:
                continue
            with suppress(ValueError, OSError):  # outside the output folder, no Unicode text, or never came to be
                name = place.relative_to(self._output).as_posix()
                name.encode()
                place.lstat()
                yield name, nbytes, mtime_ns


def normal(path: Path) -> Path:
    """A path without `.` and `..`."""
    return Path(os.path.normpath(path))


def ended_records(folder: Path, most: int) -> list[Path]:
    """The oldest records that wait in a folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.partition("-")[0].isdecimal())
    except OSError:
        return []
    return [folder / name for name in names[:most]]
