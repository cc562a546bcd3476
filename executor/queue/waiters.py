"""Who waits for the end of which job. Knows no queue and no database: the store tells it what has ended."""

from __future__ import annotations

import asyncio

from executor.errors import NotReady
from executor.queue.job import HistoryEntry

Waiter = asyncio.Future[HistoryEntry | None]


class Waiters:
    """The waiters of one store, by the row of the job; use it from one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, set[Waiter]] = {}
        self._closed = False

    async def of(self, row: int) -> HistoryEntry | None:
        """How a job that waits or runs ends; None: it was removed from the queue. NotReady when the server stops."""
        if self._closed:
            raise _stopping()
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(row, set()).add(waiter)
        try:
            return await waiter
        finally:
            waiters = self._waiting.get(row, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(row, None)

    def tell(self, row: int, entry: HistoryEntry | None) -> None:
        """A job has ended and that is stored, or it was removed (None)."""
        for waiter in self._waiting.pop(row, ()):
            if not waiter.done():
                waiter.set_result(entry)

    def close(self) -> None:
        """Nothing ends any more: those who wait go."""
        self._closed = True
        for waiter in [waiter for waiters in self._waiting.values() for waiter in waiters]:
            if not waiter.done():
                waiter.set_exception(_stopping())


def _stopping() -> NotReady:
    return NotReady("the server is stopping; what waits or runs goes on when it is back")
