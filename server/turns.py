"""How much heavy work runs at once for all clients together, so that threads and memory are left for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from aiohttp import web

AT_ONCE = 2
THREADS = 64
"""Threads of the front for work off its event loop; they are made when they are needed."""

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """Two places for pictures, and two for large JSON texts; who comes later waits."""

    def __init__(self) -> None:
        self._pictures = asyncio.Semaphore(AT_ONCE)
        self._texts = asyncio.Semaphore(AT_ONCE)

    async def picture(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` on a picture returns, done in a thread when it is its turn."""
        async with self._pictures:
            return await asyncio.to_thread(work, *args, **kwargs)

    async def text(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` on a large text returns, done in a thread when it is its turn."""
        async with self._texts:
            return await asyncio.to_thread(work, *args, **kwargs)


TURNS = web.AppKey("turns", Turns)


def turns(request: web.Request) -> Turns:
    """The turns of the server of this request."""
    return request.app[TURNS]
