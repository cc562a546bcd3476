"""Jobs that workers have while the files of the one before are being written. Knows no store.

For everybody but its worker such a job waits: it stands in the queue, can be deleted, counts as no attempt, and what
its worker tells of it is kept. Its turn comes when the job before has ended. So all that clients see comes in the order
in which it would come without this, and when the worker dies only the job before is blamed. A job before that has lost
a worker already gets none beside it: its second death is its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from executor.engine.base import Engine, EngineMessage, WorkerInfo, WorkerLost
from executor.errors import WorkerCrashed
from executor.messages import Blob, Emit, Finished, Run
from executor.queue.job import Job, about
from executor.queue.running import Running

log = logging.getLogger("weft.dispatcher")

NOTICE_S = 0.05
"""How long a prompt runs on before its worker hears that another one waits now: one that ends sooner is not told."""
GRACE_S = 30.0
"""How long a deleted job may go on once the one before has ended: its worker may be reading a model."""


@dataclass(slots=True)
class Early:
    """A job that its worker has already, and what came of it."""

    running: Running
    messages: list[EngineMessage] = field(default_factory=list)
    is_deleted: bool = False
    end: asyncio.Task[None] | None = None  # of its worker, when it does not stop


class Ahead:
    """The jobs of that kind, one for each worker; `waits` tells whether any job waits."""

    def __init__(self, engine: Engine, waits: Callable[[], bool]) -> None:
        self._engine, self._waits = engine, waits
        self._ready: dict[str, str] = {}  # workers that only write the files of their job, with its id
        self._early: dict[str, Early] = {}  # by worker
        self._notice: asyncio.TimerHandle | None = None

    def comes(self, running: Collection[Running]) -> None:
        """A job waits: workers hear of it soon whose job (of `running`, then) was to be the last for now."""
        if self._notice is None and any(one.alone for one in running):
            self._notice = asyncio.get_running_loop().call_later(NOTICE_S, self._tell, running)

    def _tell(self, running: Collection[Running]) -> None:
        self._notice = None
        for one in running if self._waits() else ():
            if one.alone:
                one.alone = False
                self._engine.follow(one.worker, one.job.id)

    def __contains__(self, worker: str) -> bool:
        return worker in self._early

    def finishing(self, running: Running) -> bool:
        """A worker's job has run all its nodes; tells whether the worker may have another one."""
        if running.job.attempts > 1 or running.worker in self._early:
            return False
        self._ready[running.worker] = running.job.id
        return True

    def of(self, worker: str) -> Running | None:
        """The job that a worker has so."""
        early = self._early.get(worker)
        return None if early is None else early.running

    def workers(self, workers: Iterable[WorkerInfo], job: Job) -> list[WorkerInfo]:
        """Those that may have this job too: messages name jobs by their ids, so it may not have that of the other."""
        ready = (info for info in workers if info.state in ("busy", "idle") and info.id in self._ready)
        return [info for info in ready if self._ready[info.id] != job.id]

    def others(self, jobs: list[Job]) -> list[Job]:
        """The jobs that no worker has."""
        rows = {early.running.job.row for early in self._early.values()}
        return [job for job in jobs if job.row not in rows] if rows else jobs

    def give(self, running: Running, message: Run) -> None:
        """Send a waiting job to its worker; what comes of it is kept until `turn`."""
        self._ready.pop(running.worker, None)
        try:
            self._engine.run(running.worker, message)
        except WorkerCrashed as error:
            log.debug("prompt %s waits on: %s", running.job.id, error, extra=about(running.job.id))
            return
        self._early[running.worker] = Early(running)

    def keeps(self, worker: str, message: EngineMessage) -> bool:
        """Take a message that is about such a job."""
        early = self._early.get(worker)
        if early is None or not isinstance(message, Emit | Blob | Finished):
            return False
        if message.job_id != early.running.job.id:
            return False
        if not early.is_deleted:
            early.messages.append(message)
        return True

    def ended(self, worker: str, message: EngineMessage) -> Job | None:
        """The job that a worker is rid of by this message before its turn: it was deleted, or is lost with it."""
        early, is_lost = self._early.get(worker), isinstance(message, WorkerLost)
        if is_lost:
            self._ready.pop(worker, None)
        if early is None:
            return None
        is_over = early.is_deleted and isinstance(message, Finished) and message.job_id == early.running.job.id
        if not is_over and not is_lost:
            return None
        del self._early[worker]
        if early.end is not None:
            early.end.cancel()
        return early.running.job

    def turn(self, worker: str) -> Early | None:
        """The job before has ended: the next one of the worker, whose turn it is, if it has one."""
        self._ready.pop(worker, None)
        early = self._early.get(worker)
        if early is None:
            return None
        if early.is_deleted:
            early.end = asyncio.create_task(self._insist(early.running), name=f"end of {early.running.job.id}")
            return None
        return self._early.pop(worker)

    def delete(self, jobs: Iterable[Job]) -> list[Job]:
        """Waiting jobs were deleted: workers that have them stop; returns those."""
        rows = {job.row for job in jobs}
        had = [early for early in self._early.values() if early.running.job.row in rows and not early.is_deleted]
        for early in had:
            self._stop(early)
        return [early.running.job for early in had]

    def withdraw(self, early: Early) -> None:
        """A job whose turn has come is there no more: its worker stops, and is free once it has."""
        self._early[early.running.worker] = early
        self._stop(early)
        self.turn(early.running.worker)

    def open(self) -> list[asyncio.Task[None]]:
        """The tasks that wait for deleted jobs."""
        return [early.end for early in self._early.values() if early.end is not None]

    def _stop(self, early: Early) -> None:
        early.is_deleted = True
        early.messages.clear()
        self._engine.interrupt(early.running.worker, early.running.job.id)

    async def _insist(self, running: Running) -> None:
        """End the worker of a deleted job that does not stop, which costs no other job anything."""
        await asyncio.sleep(GRACE_S)
        log.warning("prompt %s was deleted and goes on: its worker is ended", running.job.id)
        self._engine.interrupt(running.worker, running.job.id, force=True)
