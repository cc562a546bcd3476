"""One SQLite file on one thread of its own, with group commit. Knows no jobs.

Durability: WAL with synchronous=FULL, so a committed row survives the death of the process and a power cut. What
waits while a commit is written goes into the next one together, so many concurrent writers share one fsync.
The file is held exclusively: two servers on one queue would run every job twice.
"""

from __future__ import annotations

import asyncio
import queue
import re
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from executor.errors import DatabaseUnusable

T = TypeVar("T")

MAX_GROUP = 256  # pieces of work in one commit
_VERSION = re.compile(r"^-- version (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Work:
    """A piece of work, and the call that hands its outcome over once it is committed."""

    attempt: Callable[[sqlite3.Connection], None]
    settle: Callable[[BaseException | None], None]


class Database:
    """A SQLite database; every statement runs on its one thread."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._refused = ""  # what the disk said to the last transaction; empty when it took it

    async def open(self) -> None:
        """Open the file and bring its schema up to date; DatabaseUnusable says why it cannot be used."""
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(opened,), name="weft-queue", daemon=True)
        self._thread.start()
        await asyncio.wrap_future(opened)

    async def close(self) -> None:
        """Finish what waits and close the file."""
        if self._thread is not None:
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` inside a transaction and return its value after the commit; its own exception undoes it alone."""
        done: Future[T] = Future()
        done.set_running_or_notify_cancel()  # from here on it cannot be cancelled: the work will be done
        values: list[T] = []

        def attempt(connection: sqlite3.Connection) -> None:
            values.append(work(connection))

        def settle(error: BaseException | None) -> None:
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(values[0])

        if self._thread is None:
            raise DatabaseUnusable(self.path, "it is closed")
        self._waiting.put(_Work(attempt, settle))
        return await asyncio.shield(asyncio.wrap_future(done))

    async def fault(self) -> str | None:
        """None when the last transaction was written, or one that writes nothing new can be now; else what is wrong."""
        if self._refused:
            with suppress(sqlite3.Error):
                await self.run(_rewrite_version)
        return self._refused or None

    def _serve(self, opened: Future[None]) -> None:
        try:
            connection = _connect(self.path)
        except DatabaseUnusable as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        ending = False
        while not ending:
            group = self._next_group()
            ending = group[-1] is None
            works = [work for work in group if work is not None]
            outcomes, self._refused = _commit(connection, works)
            for work, outcome in zip(works, outcomes, strict=True):
                work.settle(outcome)
        connection.close()

    def _next_group(self) -> list[_Work | None]:
        group = [self._waiting.get()]
        while group[-1] is not None and len(group) < MAX_GROUP:
            try:
                group.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return group


def _commit(connection: sqlite3.Connection, group: list[_Work]) -> tuple[list[BaseException | None], str]:
    """Run a group in one transaction, each piece with a savepoint; their outcomes, and what the disk said."""
    if not group:
        return [], ""
    try:
        connection.execute("BEGIN IMMEDIATE")
        outcomes = [_attempt(connection, work) for work in group]
        connection.execute("COMMIT")
    except sqlite3.Error as error:  # the disk is full or gone: nothing of the group counts
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return [error] * len(group), str(error)
    return outcomes, next((str(error) for error in outcomes if isinstance(error, sqlite3.OperationalError)), "")


def _rewrite_version(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")


def _attempt(connection: sqlite3.Connection, work: _Work) -> BaseException | None:
    connection.execute("SAVEPOINT work")
    try:
        work.attempt(connection)
    except Exception as error:  # handed to the caller, who waits on another thread
        if not connection.in_transaction:  # a full disk may have ended all of it
            raise
        connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")
        return error
    connection.execute("RELEASE work")
    return None


def _connect(path: str) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, path)
    except (sqlite3.Error, OSError, DatabaseUnusable) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, DatabaseUnusable):
            raise
        reason = "another server is using it" if "locked" in str(error) else str(error)
        raise DatabaseUnusable(path, reason) from error
    return connection


def migrations() -> list[str]:
    """The SQL that leads from each version of the schema to the next."""
    text = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    return _VERSION.split(text)[2::2]


def _migrate(connection: sqlite3.Connection, path: str) -> None:
    steps = migrations()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(steps):
        raise DatabaseUnusable(
            path, f"a newer Weft wrote it (schema {version}, this one knows {len(steps)}); update, or move it away"
        )
    for number in range(version, len(steps)):
        connection.executescript(f"BEGIN IMMEDIATE;\n{steps[number]}\nPRAGMA user_version = {number + 1};\nCOMMIT;")
    if version == len(steps):  # take the exclusive lock now, not at the first job
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
