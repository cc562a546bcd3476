"""Has the files of lost attempts removed before their job runs again, and forgets the records of jobs that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from executor.leftovers import Leftovers
from executor.queue.job import Job

PAUSE_S = 0.5
"""How long records of jobs that ended are collected: looking through the folder for each would cost a thread's turn."""


class Litter:
    """What attempts may have left; does nothing without `leftovers`. Use it from one event loop."""

    def __init__(self, leftovers: Leftovers | None) -> None:
        self._leftovers = leftovers
        self._rows: set[int] = set()  # of jobs of which a lost attempt may have left files
        self._over: set[int] = set()  # of jobs that ended, whose records are of no use
        self._sweep: asyncio.Task[None] | None = None

    async def take_stock(self, waiting: Collection[int]) -> None:
        """Learn at the start which of the waiting rows have records."""
        if self._leftovers is not None:
            self._rows = await asyncio.to_thread(self._leftovers.take_stock, waiting)

    def lost(self, job: Job) -> None:
        """An attempt of a job was lost."""
        self._rows.add(job.row)

    def may_be_of(self, job: Job) -> bool:
        """Tell whether a lost attempt of a job may have left files."""
        return job.row in self._rows

    async def doom(self, jobs: Iterable[Job]) -> None:
        """These jobs were deleted while their worker had them: what they write goes, also after the front's death."""
        for job in jobs:
            if self._leftovers is not None:
                await asyncio.to_thread(self._leftovers.doom, job.row)

    async def tidy(self, jobs: Iterable[Job]) -> None:
        """Remove the files that lost attempts of these jobs left."""
        for job in jobs:
            if job.row in self._rows and self._leftovers is not None:
                await asyncio.to_thread(self._leftovers.remove, job.row)
                self._rows.discard(job.row)

    async def settle(self, job: Job, over: Collection[str] | None = None) -> None:
        """A job ends with a lost attempt: what was half written goes, and what nodes wrote that were not `over` yet."""
        if self._leftovers is not None:
            await asyncio.to_thread(self._leftovers.settle, job.row, over)

    def ended(self, job: Job) -> None:
        """A job that has a record ended: the record goes soon. One that stays is forgotten at the next start."""
        self._over.add(job.row)
        if self._sweep is None:
            self._sweep = asyncio.create_task(self._sweep_soon(), name="forget records")

    async def close(self) -> None:
        """Let the records go now."""
        if self._sweep is not None:
            self._sweep.cancel()
            await asyncio.gather(self._sweep, return_exceptions=True)
            await self._forget()

    async def _sweep_soon(self) -> None:
        await asyncio.sleep(PAUSE_S)
        await self._forget()
        self._sweep = None
        if self._over:
            self._sweep = asyncio.create_task(self._sweep_soon(), name="forget records")

    async def _forget(self) -> None:
        rows, self._over = self._over, set()
        if rows and self._leftovers is not None:
            await asyncio.to_thread(self._leftovers.forget, rows, closed=True)
