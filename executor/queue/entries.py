"""Jobs that workers have before their acceptance is on disk. Knows no store.

A worker that has nothing to do gets a job the moment it comes, and prepares it while it is committed. Until then it
runs no code of the job's nodes (`Run.held`), and what it tells of the job is kept from everybody; of a job that the
disk refuses nobody ever hears.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from executor.engine.base import Engine, EngineMessage, WorkerLost
from executor.errors import WorkerCrashed
from executor.messages import Blob, Emit, Finished, Run
from executor.queue.job import about
from executor.queue.running import Running

log = logging.getLogger("weft.dispatcher")


@dataclass(slots=True)
class Entry:
    """A job that is not accepted yet, or never will be."""

    running: Running
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False  # the worker went away before it could take the job


class Entries:
    """The jobs of that kind, one for each worker; `freed` is called when a worker is rid of a refused one."""

    def __init__(self, engine: Engine, freed: Callable[[], None]) -> None:
        self._engine, self._freed = engine, freed
        self._entries: dict[str, Entry] = {}  # by worker

    def __contains__(self, worker: str) -> bool:
        return worker in self._entries

    def __bool__(self) -> bool:
        return bool(self._entries)

    def of(self, worker: str) -> Running | None:
        """The job that a worker has so."""
        entry = self._entries.get(worker)
        return None if entry is None else entry.running

    def offer(self, running: Running, message: Run) -> None:
        """Send a job that is being written; `accept` or `refuse` follows."""
        entry = self._entries[running.worker] = Entry(running)
        try:
            self._engine.run(running.worker, message)
        except WorkerCrashed as error:
            log.warning("prompt %s: %s", running.job.id, error, extra=about(running.job.id))
            entry.gone = True

    def accept(self, worker: str) -> bool:
        """The job is on disk: the worker goes on with it; False if the worker never saw it."""
        entry = self._entries.pop(worker)
        self._engine.begin(worker, entry.running.job.id)
        entry.decided.set()
        return not entry.gone

    def refuse(self, worker: str) -> None:
        """The disk refused the job: the worker is told to end it, and is free once it has."""
        entry = self._entries[worker]
        entry.decided.set()
        if entry.gone:
            self._forget(worker)
            return
        self._engine.interrupt(worker, entry.running.job.id)

    async def decided(self, worker: str) -> None:
        """Wait until the job of a worker is accepted, and answered, or refused, if it has such a one."""
        entry = self._entries.get(worker)
        if entry is not None:
            await entry.decided.wait()
            await asyncio.sleep(0)  # who submitted it has the answer first

    def swallows(self, worker: str, message: EngineMessage) -> bool:
        """Tell whether a message is about a refused job, and take its end as the worker's leave of it."""
        entry = self._entries.get(worker)
        if entry is None or not entry.decided.is_set():
            return False
        if isinstance(message, WorkerLost):
            self._forget(worker)
            return False
        if not isinstance(message, Emit | Blob | Finished) or message.job_id != entry.running.job.id:
            return False
        if isinstance(message, Finished):
            self._forget(worker)
        return True

    def _forget(self, worker: str) -> None:
        del self._entries[worker]
        self._freed()
