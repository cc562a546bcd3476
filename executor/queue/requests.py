"""Meets what packs in workers ask of the queue: each worker's requests in their order. Knows no job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

from executor.errors import WeftError
from executor.messages import Reply, Request

log = logging.getLogger("weft.dispatcher")

Answer = Callable[[Request], Awaitable[bytes]]
Send = Callable[[str, Reply], None]


class Requests:
    """The requests that are being met; `answer` does what one asks, `send` takes the reply to its worker."""

    def __init__(self, answer: Answer, send: Send) -> None:
        self._answer, self._send = answer, send
        self._turns: dict[str, asyncio.Lock] = {}  # by worker
        self._open: dict[asyncio.Task[None], str] = {}  # being met -> whose

    def take(self, worker: str, request: Request) -> None:
        """Meet a request of a worker in the background."""
        task = asyncio.create_task(self._meet(worker, request), name=f"wish of {worker}")
        self._open[task] = worker
        task.add_done_callback(self._open.pop)

    def drop(self, worker: str) -> None:
        """A worker is gone: nobody waits for its answers."""
        for task in [task for task, whose in self._open.items() if whose == worker]:
            task.cancel()

    def open(self) -> list[asyncio.Task[None]]:
        """Those that are being met."""
        return list(self._open)

    async def _meet(self, worker: str, request: Request) -> None:
        """Do what a pack wishes of the queue, one after another but for those that are `at_once`, and answer."""
        turn = nullcontext() if request.at_once else self._turns.setdefault(worker, asyncio.Lock())
        async with turn:
            try:
                reply = Reply(id=request.id, value_json=await self._answer(request))
            except WeftError as error:
                reply = Reply(id=request.id, error=str(error))
            except Exception as error:  # the border of a pack's wish: the worker must get its answer
                log.exception("the wish %r of worker %s could not be met", request.wish, worker)
                reply = Reply(id=request.id, error=f"{type(error).__name__}: {error}")
            self._send(worker, reply)
