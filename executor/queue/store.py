"""The durable queue: what waits, what runs, what ended. Knows no workers and no events.

"Accepted" means committed: `add` returns after the row is on disk. Reads of the queue come from memory and never
touch the disk. Every change is decided in memory first, on the event loop, and written in the same order; a write
that fails takes its change back. That a job was given to a worker is noted at once (`Begun`), and written to its row
when it still runs after CLAIM_S: most have ended by then, and no worker waits for the disk. Secrets live in memory
beside the job and are gone after a restart.
"""

from __future__ import annotations

import asyncio
import bisect
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from executor.errors import DatabaseUnusable
from executor.queue.ageing import Ageing
from executor.queue.begun import Begun
from executor.queue.database import Database
from executor.queue.deliveries import Deliveries, Delivery
from executor.queue.history import History
from executor.queue.job import HistoryEntry, Job, Key, Result, crash_result, now_ms
from executor.queue.keys import Keys
from executor.queue.rows import JOB_COLUMNS, QUEUE_COLUMNS, queue_values, waiting_job_of
from executor.queue.waiters import Waiters

S = TypeVar("S")
T = TypeVar("T")

MAX_ATTEMPTS = 2
CLAIM_S = 0.05
SMALL_BYTES = 64 << 10  # of a row that costs the event loop little

_INSERT = f"""
INSERT INTO queue (row, {QUEUE_COLUMNS}, state, attempts, worker, started_ms, created_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_LOAD = f"""
SELECT row, {JOB_COLUMNS}, state, attempts, at_head, worker, created_ms, started_ms, digest, node_errors,
    hook
FROM queue ORDER BY row
"""


class Store:
    """The queue and the history in one SQLite file (or ":memory:"). Use it from one event loop."""

    def __init__(self, path: Path | str = ":memory:", *, history_limit: int = 10000) -> None:
        self._database = Database(path)
        self.past = History(self._database, history_limit)
        self.ageing = Ageing(self._database, self.past)
        self.keys = Keys(self._database)
        self.waiters = Waiters()
        self.deliveries = Deliveries(self._database)
        self._pending: list[Job] = []  # in the order of execution
        self._running: dict[int, Job] = {}  # by row
        self._named: dict[tuple[str, str, str], Job] = {}  # what waits or runs and has a digest, by owner, id and it
        self._begun = Begun(Path(f"{path}-begun") if str(path) != ":memory:" else None)
        self._unwritten: set[int] = set()  # rows of running jobs of which the table does not say so yet
        self._writing: asyncio.TimerHandle | None = None
        self._adding = 0
        self._newest = 0  # the row that was given last
        self._open_writes: set[asyncio.Future[Any]] = set()

    async def open(self) -> None:
        """Open the file, put what was running back (or end it after its second attempt), and load what waits.

        Raises DatabaseUnusable that says why.
        """
        await self._database.open()
        try:
            jobs = await self._load()
        except (sqlite3.Error, OSError) as error:
            await self._database.close()
            self._begun.close()
            raise DatabaseUnusable(self._database.path, str(error)) from error
        self._pending = sorted(jobs, key=Job.order)
        for job in self._pending:
            self._name(job)

    async def _load(self) -> list[Job]:
        begun = await asyncio.to_thread(self._begun.open)
        jobs = await self._database.run(lambda connection: self._recover(connection, begun))
        self._newest = await self._database.run(_newest_row)
        await asyncio.to_thread(self._begun.clear)
        await self.past.load()
        await self.deliveries.load()
        return jobs

    async def close(self) -> None:
        """Write what is under way and close the file."""
        if self._open_writes:
            await asyncio.wait(self._open_writes)
        if self._writing is not None:
            self._writing.cancel()
            self._write_claims()
        await self._database.close()
        self._begun.close()

    async def writable(self) -> str | None:
        """None while the file takes what is written, else what it refused last, tried anew."""
        return await self._database.fault()

    # ---------------------------------------------------------------- the queue, from memory

    def pending(self, owner: str | None = None) -> list[Job]:
        """What waits, in the order of execution: of one owner, or all."""
        return list(self._pending) if owner is None else [job for job in self._pending if job.owner == owner]

    def running(self, owner: str | None = None) -> list[Job]:
        """What runs, oldest first: of one owner, or all."""
        running = self._running.values()
        return list(running) if owner is None else [job for job in running if job.owner == owner]

    def unfinished(self) -> list[Job]:
        """What runs and what waits, of all owners; may be asked from any thread."""
        return [*self.running(), *self.pending()]

    def remaining(self, owner: str | None = None) -> int:
        """How many jobs wait or run, of one owner or in all."""
        if owner is None:
            return len(self._pending) + len(self._running)
        return sum(job.owner == owner for job in (*self._pending, *self._running.values()))

    def waiting(self) -> int:
        """How many jobs wait, with those that are being added."""
        return len(self._pending) + self._adding

    def position(self, row: int, owner: str | None = None) -> int | None:
        """The place of a waiting job in the order of execution, from 1 on; None for one that does not wait.

        With an owner it is the place among that one's jobs.
        """
        jobs = self._pending if owner is None else self.pending(owner)
        return next((place for place, job in enumerate(jobs, 1) if job.row == row), None)

    def same(self, prompt_id: str, digest: str, owner: str = "") -> Job | None:
        """What waits or runs of that owner and id and came with a body of that digest."""
        return self._named.get((owner, prompt_id, digest))

    def holds(self, row: int) -> bool:
        """Tell whether the job of that row waits or runs."""
        return row in self._running or any(job.row == row for job in self._pending)

    def next(self) -> Job | None:
        """The job that is to run next."""
        return self._pending[0] if self._pending else None

    # ---------------------------------------------------------------- the queue, changes

    async def add(self, job: Job, worker: str | None = None, key: Key | None = None) -> Job:
        """Accept a job as `enter` does; when this returns it is on disk. The returned job has its row."""
        return await self.enter(job, worker, key)[1]

    def enter(
        self,
        job: Job,
        worker: str | None = None,
        key: Key | None = None,
        decided: Callable[[bool], None] = lambda accepted: None,
    ) -> tuple[Job, asyncio.Future[Job]]:
        """Have a job accepted, with the key that leads to it: as it will be, and the future that gets it from the disk.

        With a worker it is claimed in the same commit: right where nothing else waits. `decided` is told at once
        whether it was accepted, whoever waits for the future. The future fails with sqlite3.Error when the disk refuses
        the job: then nothing was accepted.
        """
        row = self._newest + 1
        if worker is None:
            job = replace(job, row=row, state="pending", attempts=0, at_head=False)
        else:
            job = replace(job, row=row, state="running", attempts=1, at_head=False, worker=worker, started_ms=now_ms())
        values = (job.row, *queue_values(job), job.state, job.attempts, worker, job.started_ms, job.created_ms)

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT, values)
            if key is not None:
                self.keys.record(connection, key, job)

        def written(done: None) -> Job:
            self._adding -= 1
            self._name(job)
            if worker is None:
                self._wait(job)
            else:
                self._running[job.row] = job
            decided(True)
            return job

        def refused() -> None:
            self._adding -= 1
            decided(False)

        alone = worker is not None and not self._running and _is_small(job)
        writing = self._change(insert, written, refused, alone=alone)
        self._newest = job.row
        self._adding += 1
        return job, writing

    def claim(self, worker: str, row: int | None = None) -> Job | None:
        """Take the next job for a worker, or the one of that row; None when there is no such job waiting.

        The attempt counts from here on, also after the death of this process.
        """
        place = next((place for place, job in enumerate(self._pending) if row in (None, job.row)), None)
        if place is None:
            return None
        waiting = self._pending.pop(place)
        job = replace(waiting, state="running", attempts=waiting.attempts + 1, worker=worker, started_ms=now_ms())
        self._running[job.row] = job
        self._begun.note(job.row, job.attempts)
        self._unwritten.add(job.row)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(CLAIM_S, self._write_claims)
        return job

    def finish(self, job: Job, result: Result, stored: Callable[[], None] = lambda: None) -> asyncio.Future[bool]:
        """Move a running job into history; False if this attempt of the job is no longer the running one.

        It is on its way to the disk when this returns; `stored` is called the moment it is there.
        """
        if not self._is_current(job):
            stale: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            stale.set_result(False)
            return stale
        entry = HistoryEntry(job=job, result=result, ended_ms=now_ms())
        self._unwritten.discard(job.row)
        told: list[Delivery] = []

        def written(rank: int | None) -> bool:
            if rank is not None:
                self.past.note(rank, entry)
                self.deliveries.note(told)
            self._begun.forget(job.row)
            self._running.pop(job.row, None)
            self._unname(job)
            if rank is not None:
                self.waiters.tell(job.row, entry)
                stored()
            return rank is not None

        alone = not self._pending and len(self._running) == 1 and _is_small(job, result)
        return self._change(lambda connection: self._store_end(connection, entry, told), written, alone=alone)

    async def requeue(self, job: Job, *, counted: bool = True) -> bool:
        """Put a running job back at the head; `counted=False` takes the attempt back. False as with finish."""
        return await self._whole(self._requeue(job, counted))

    async def delete(self, ids: Iterable[str], owner: str | None = None) -> list[Job]:
        """Remove the first waiting job of each id, of one owner or anybody's; returns what was removed."""
        wanted = Counter(ids)
        chosen: list[Job] = []
        for job in self._pending if wanted else ():
            if wanted[job.id] > 0 and job.belongs_to(owner):
                wanted[job.id] -= 1
                chosen.append(job)
        if chosen:
            rows = {job.row for job in chosen}
            self._pending = [job for job in self._pending if job.row not in rows]
            await self._whole(self._remove(chosen))
        return chosen

    async def clear(self, owner: str | None = None) -> list[Job]:
        """Remove everything that waits, of one owner or in all; returns what was removed."""
        chosen = self.pending(owner)
        self._pending = [job for job in self._pending if not job.belongs_to(owner)]
        if chosen:
            await self._whole(self._remove(chosen))
        return chosen

    # ---------------------------------------------------------------- history

    async def history(self, max_items: int | None = None, offset: int = -1) -> list[HistoryEntry]:
        """Entries in order of completion: all, the newest `max_items`, or a window from `offset` on."""
        return await self.past.entries(max_items, offset)

    async def history_of(self, prompt_id: str, owner: str | None = None) -> HistoryEntry | None:
        """The newest entry of a prompt, or None."""
        return await self.past.entry(prompt_id, owner)

    async def delete_history(self, ids: Iterable[str], owner: str | None = None) -> None:
        """Forget entries, of one owner or anybody's; unknown ids are ignored."""
        await self._whole(self.past.delete(ids, owner))

    async def clear_history(self, owner: str | None = None) -> None:
        """Forget every entry, or those of one owner."""
        await self._whole(self.past.clear(owner))

    # ---------------------------------------------------------------- what stands behind

    async def _whole(self, change: Coroutine[Any, Any, T]) -> T:
        """Do a change to its end, also when the caller is cancelled: memory and disk must not part."""
        task = asyncio.ensure_future(change)
        self._open_writes.add(task)
        task.add_done_callback(self._open_writes.discard)
        return await asyncio.shield(task)

    def _change(
        self,
        work: Callable[[sqlite3.Connection], S],
        written: Callable[[S], T],
        refused: Callable[[], None] = lambda: None,
        *,
        alone: bool = False,
    ) -> asyncio.Future[T]:
        """Write a change, which is on its way when this returns, and make it in memory, whoever waits for it.

        `written` gets what `work` returned and makes the future's value; `refused` is called where the future fails.
        `alone` as in `Database.change`.
        """
        writing = self._database.change(work, written, refused, alone=alone)
        self._open_writes.add(writing)
        writing.add_done_callback(self._open_writes.discard)
        return writing

    def _name(self, job: Job) -> None:
        if job.digest is not None:
            self._named[job.owner, job.id, job.digest] = job

    def _unname(self, job: Job) -> None:
        name = job.owner, job.id, job.digest or ""
        named = self._named.get(name)
        if named is not None and named.row == job.row:
            del self._named[name]

    def _write_claims(self) -> None:
        """Write to the rows of running jobs that they run."""
        self._writing = None
        jobs = [self._running[row] for row in self._unwritten]
        self._unwritten.clear()
        query = "UPDATE queue SET state = 'running', attempts = ?, worker = ?, started_ms = ? WHERE row = ?"
        values = [(job.attempts, job.worker, job.started_ms, job.row) for job in jobs]
        if values:
            self._database.post(lambda connection: connection.executemany(query, values))

    async def _requeue(self, job: Job, counted: bool) -> bool:
        if not self._is_current(job):
            return False
        attempts = job.attempts if counted else job.attempts - 1
        waiting = replace(job, state="pending", attempts=attempts, at_head=True, worker=None, started_ms=None)
        del self._running[job.row]
        self._unwritten.discard(job.row)
        self._wait(waiting)
        query = (
            "UPDATE queue SET state = 'pending', attempts = ?, at_head = 1, worker = NULL, started_ms = NULL "
            "WHERE row = ?"
        )
        # If this write fails the row stays as it was, and a restart puts it back: nothing to undo.
        await self._database.run(lambda connection: connection.execute(query, (attempts, job.row)) and None)
        self._begun.forget(job.row)
        return True

    async def _remove(self, jobs: list[Job]) -> None:
        rows = [(job.row,) for job in jobs]
        for job in jobs:
            self._unname(job)
        told: list[Delivery] = []

        def remove(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM queue WHERE row = ?", rows)
            told[:] = [each for job in jobs for each in self.deliveries.record(connection, job, None)]

        try:
            await self._database.run(remove)
        except sqlite3.Error:
            for job in jobs:
                self._wait(job)
                self._name(job)
            raise
        self.deliveries.note(told)
        for job in jobs:
            self.waiters.tell(job.row, None)

    def _wait(self, job: Job) -> None:
        bisect.insort(self._pending, job, key=Job.order)

    def _is_current(self, job: Job) -> bool:
        return self._running.get(job.row) == job  # an attempt that was taken back leaves its number to the next

    def _store_end(self, connection: sqlite3.Connection, entry: HistoryEntry, told: list[Delivery]) -> int | None:
        """Move the row of a running job into history; its rank there, None if there is no such row.

        What is to be told of it goes into `told`.
        """
        gone = connection.execute("DELETE FROM queue WHERE row = ?", (entry.job.row,))
        if gone.rowcount != 1:
            return None
        told[:] = self.deliveries.record(connection, entry.job, entry)
        return self.past.record(connection, entry)

    def _recover(self, connection: sqlite3.Connection, begun: Collection[tuple[int, int]]) -> list[Job]:
        """Put running rows back once, end them the second time; returns everything that waits.

        `begun` are rows and attempts that ran although their rows may not say so.
        """
        waiting: list[Job] = []
        for job in [_as_it_ran(waiting_job_of(row), begun) for row in connection.execute(_LOAD).fetchall()]:
            if job.state == "running" and job.attempts >= MAX_ATTEMPTS:
                reason = f"the server ended {job.attempts} times while it ran this prompt; it is not tried again"
                result = crash_result(job, reason)
                self._store_end(connection, HistoryEntry(job=job, result=result, ended_ms=now_ms()), [])
            elif job.state == "running":
                back = replace(job, state="pending", at_head=True, worker=None, started_ms=None)
                waiting.append(back)
                connection.execute(
                    "UPDATE queue SET state = 'pending', attempts = ?, at_head = 1, worker = NULL, started_ms = NULL "
                    "WHERE row = ?",
                    (back.attempts, back.row),
                )
            else:
                waiting.append(job)
        return waiting


def _is_small(job: Job, result: Result | None = None) -> bool:
    """Tell whether the row of a job, with its result, is written in next to no time."""
    texts = [job.prompt_json, job.extra_json]
    if result is not None:
        texts += (result.outputs_json, result.meta_json, result.messages_json)
    return sum(map(len, texts)) <= SMALL_BYTES


def _newest_row(connection: sqlite3.Connection) -> int:
    """The highest row that any job ever had."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'queue'").fetchone()
    return 0 if found is None else int(found[0])


def _as_it_ran(job: Job, begun: Collection[tuple[int, int]]) -> Job:
    """A job that begun without its row, as running."""
    attempt = job.attempts + 1
    return replace(job, state="running", attempts=attempt) if (job.row, attempt) in begun else job
