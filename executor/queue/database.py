"""One SQLite file on one thread of its own, with group commit. Knows no jobs.

Durability: WAL with synchronous=FULL, so a committed row survives the death of the process and a power cut. What
waits while a commit is written goes into the next one together, so many concurrent writers share one fsync.
Where nothing else is going on and the disk has been quick of late, the event loop writes by itself: handing the work to
the thread and its outcome back takes longer than such a commit.
The file is held exclusively: two servers on one queue would run every job twice.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import queue
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from executor.errors import DatabaseUnusable

log = logging.getLogger("weft.dispatcher")

S = TypeVar("S")
T = TypeVar("T")

MAX_GROUP = 256  # pieces of work in one commit
QUICK_S = 0.0015  # what a commit takes at most on a quick disk, in the mean
LOOKED_AT = 8  # that many commits, the newest, tell whether it is one
_VERSION = re.compile(r"^-- version (\d+)$", re.MULTILINE)


@dataclass(slots=True)
class _Work:
    """A piece of work, the future that gets its outcome once it is committed, and the outcome.

    `then` makes the future's value of what the work returned, `refused` is called where it failed: on the loop, before
    anybody who waits goes on, and also where nobody waits any more.
    """

    work: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop | None = None
    done: asyncio.Future[Any] | None = None
    then: Callable[[Any], Any] | None = None
    refused: Callable[[], None] | None = None
    value: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Hand the outcome over, on the loop; nobody takes it where the caller was cancelled."""
        value, error = self.value, self.error
        try:
            if error is not None and self.refused is not None:
                self.refused()
            if error is None and self.then is not None:
                value = self.then(value)
        except Exception as failure:  # the others of the group have their outcomes all the same
            log.exception("a change that was written could not be taken in")
            error = failure
        if self.done is None or self.done.done():
            return
        if error is not None:
            self.done.set_exception(error)
        else:
            self.done.set_result(value)


class Database:
    """A SQLite database of one event loop; statements run on its one thread, or on the loop's while that rests."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._handed = 0  # pieces of work that the thread was given
        self._written = 0  # those that it has written: it alone counts them
        self._own: list[_Work] = []  # what the loop is going to write by itself
        self._took_s = deque([math.inf], maxlen=LOOKED_AT)  # by the newest commits
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
            self._write_own()
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` inside a transaction and return its value after the commit; its own exception undoes it alone."""
        return await self.start(work)

    def start(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Have `work` run as `run` does: it is on its way when this returns, whatever becomes of the future."""
        return self.change(work, lambda value: value)

    def change(
        self,
        work: Callable[[sqlite3.Connection], S],
        then: Callable[[S], T],
        refused: Callable[[], None] | None = None,
        *,
        alone: bool = False,
    ) -> asyncio.Future[T]:
        """As `start`; `then` makes the future's value of what `work` returned, `refused` is called where that failed.

        Either is called on the loop, before anybody who waits goes on, and whatever becomes of the future.
        `alone`: the loop has little else to do, and the work is small: it may write by itself, soon after this returns.
        """
        if self._thread is None:
            raise DatabaseUnusable(self.path, "it is closed")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        piece = _Work(work, loop, done, then, refused)
        if alone and not self._own and self._is_quick():
            self._own.append(piece)
            loop.call_soon(self._write_own)
        else:
            self._hand(piece)
        return done

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Run `work` as `run` does, for nobody who waits; what fails is logged."""
        self._hand(_Work(work))

    def _hand(self, piece: _Work) -> None:
        """Have a piece of work written after all that came before it."""
        if self._own:
            self._own.append(piece)
            return
        self._handed += 1
        self._waiting.put(piece)

    def _is_quick(self) -> bool:
        """Tell whether the thread rests, and the last commits took next to no time."""
        return self._handed == self._written and sum(self._took_s) < QUICK_S * len(self._took_s)

    def _write_own(self) -> None:
        """Write on the loop; the thread is given nothing meanwhile."""
        group, self._own = self._own, []
        self._write(group)
        _tell_refusals(group)
        _settle([work for work in group if work.loop is not None])

    async def fault(self) -> str | None:
        """None when the last transaction was written, or one that writes nothing new can be now; else what is wrong."""
        if self._refused:
            with suppress(sqlite3.Error):
                await self.run(_rewrite_version)
        return self._refused or None

    def _serve(self, opened: Future[None]) -> None:
        try:
            connection = self._connection = connect(self.path)
        except DatabaseUnusable as error:
            opened.set_exception(error)
            return
        opened.set_result(None)
        stretch(connection)
        ending = False
        while not ending:
            group = self._next_group()
            ending = group[-1] is None
            works = [work for work in group if work is not None]
            self._write(works)
            self._written += len(works)
            _hand_over(works)
        connection.close()

    def _write(self, group: list[_Work]) -> None:
        """Write a group in one commit, and note how long the disk took."""
        if not group or self._connection is None:
            return
        began_s = time.perf_counter()
        self._refused = _commit(self._connection, group)
        self._took_s.append(time.perf_counter() - began_s)

    def _next_group(self) -> list[_Work | None]:
        group = [self._waiting.get()]
        while group[-1] is not None and len(group) < MAX_GROUP:
            try:
                group.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return group


def _hand_over(group: list[_Work]) -> None:
    """Give a group its outcomes, waking each loop once."""
    _tell_refusals(group)
    for loop in {work.loop for work in group if work.loop is not None}:
        with suppress(RuntimeError):  # the loop has ended, and its callers with it
            loop.call_soon_threadsafe(_settle, [work for work in group if work.loop is loop])


def _tell_refusals(group: list[_Work]) -> None:
    """Log what failed that nobody waits for."""
    for work in group:
        if work.loop is None and work.error is not None:
            log.error("the queue's database refuses a row", exc_info=work.error)


def _settle(group: list[_Work]) -> None:
    for work in group:
        work.settle()


def _commit(connection: sqlite3.Connection, group: list[_Work]) -> str:
    """Run a group in one transaction, each of several pieces with a savepoint; returns what the disk said."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for work in group:
            _attempt(connection, work, alone=len(group) == 1)
        if connection.in_transaction:
            connection.execute("COMMIT")
    except sqlite3.Error as error:  # the disk is full or gone: nothing of the group counts
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for work in group:
            work.error = error
        return str(error)
    return next((str(work.error) for work in group if isinstance(work.error, sqlite3.OperationalError)), "")


def _rewrite_version(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")


def _attempt(connection: sqlite3.Connection, work: _Work, *, alone: bool) -> None:
    if not alone:
        connection.execute("SAVEPOINT work")
    try:
        work.value = work.work(connection)
    except Exception as error:  # handed to the caller, who waits on another thread
        if not connection.in_transaction:  # a full disk may have ended all of it
            raise
        work.error = error
        connection.execute("ROLLBACK" if alone else "ROLLBACK TO work")
    if not alone:
        connection.execute("RELEASE work")


def connect(path: str) -> sqlite3.Connection:
    """Open a file for one writer, and bring its schema up to date; DatabaseUnusable says why it cannot be used."""
    connection: sqlite3.Connection | None = None
    try:
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, timeout=1.0, check_same_thread=False)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, path)
    except (sqlite3.Error, OSError, DatabaseUnusable) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, DatabaseUnusable):
            raise
        raise DatabaseUnusable(path, _reason(path, error)) from error
    return connection


def stretch(connection: sqlite3.Connection) -> None:
    """Let the log of changes have the length now to which it would grow by its first commits.

    A commit that lengthens the file has the file system write down its new length too, and takes half as long again. A
    change too large for the memory that it is given goes into the log, and is taken back.
    """
    with suppress(sqlite3.Error):  # a full disk says so at the first commit that matters
        (pages,), (page_bytes,), (cache,) = (
            connection.execute(f"PRAGMA {name}").fetchone()
            for name in ("wal_autocheckpoint", "page_size", "cache_size")
        )
        connection.execute("PRAGMA cache_size = 16")
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE filler (filling BLOB)")
            connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (pages * page_bytes,))
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.execute(f"PRAGMA cache_size = {cache}")


def _reason(path: str, error: Exception) -> str:
    if "locked" in str(error):
        return "another server is using it"
    places = [place for place in (Path(path), Path(path).parent) if place.exists()]
    closed = next((place for place in places if not os.access(place, os.W_OK)), None)
    return f"this server's user may not write {closed}" if closed is not None else str(error)


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
