"""Whether prompts can be taken, run and stored now, and what stands in the way. Knows no requests."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from executor.engine.base import WorkerInfo
from executor.files import Folders
from executor.queue.dispatcher import Dispatcher

PROBE = b"x" * 4096
FRESH_S = 1.0
"""How long a look at the disk stands: probes of several balancers must not write all the time."""
CRASHES = 3

OK = "ok"


class Readiness:
    """What GET /ready tells: for each thing that is needed "ok", or what is wrong with it."""

    def __init__(self, dispatcher: Dispatcher, folders: Folders) -> None:
        self._dispatcher = dispatcher
        self._folders = folders
        self._disk = OK
        self._looked_s = float("-inf")
        self._look: asyncio.Task[str] | None = None

    async def checks(self) -> Mapping[str, str]:
        """Worker, disk, queue, and whether prompts are taken."""
        return {
            "worker": workers_state(self._dispatcher.engine.workers()),
            "disk": await self._disk_state(),
            "queue": await self._dispatcher.store.writable() or OK,
            "accepting": "the server is stopping" if self._dispatcher.is_stopping else OK,
        }

    async def _disk_state(self) -> str:
        if time.monotonic() - self._looked_s >= FRESH_S:
            if self._look is None:
                self._look = asyncio.create_task(asyncio.to_thread(unwritable, self._places()))
            self._disk = await asyncio.shield(self._look)
            self._look, self._looked_s = None, time.monotonic()
        return self._disk

    def _places(self) -> tuple[Path, ...]:
        return self._folders.user, *(self._folders.root(root) for root in ("input", "output", "temp"))


def workers_state(workers: tuple[WorkerInfo, ...]) -> str:
    """ "ok" when a worker can run prompts, else why none can."""
    if workers and all(worker.crashes >= CRASHES for worker in workers):
        return "workers keep crashing"
    if not any(worker.state in ("idle", "busy") for worker in workers):
        return "the worker is starting"
    return OK


def unwritable(places: tuple[Path, ...]) -> str:
    """ "ok" when a small file can be written in each folder, else where it cannot, and why."""
    for folder in places:
        probe = folder / f".{uuid.uuid4().hex}.probe"
        try:
            probe.write_bytes(PROBE)
        except OSError as error:
            return f"{folder} cannot be written: {error.strerror}"
        finally:
            _remove(probe)
    return OK


def _remove(probe: Path) -> None:
    try:
        probe.unlink(missing_ok=True)
    except OSError:
        return  # what stands in the way of writing stands in the way of this, too
