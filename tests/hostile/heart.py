"""How long a server's event loop answered nobody, measured inside it, however busy the machine is.

A task wakes every few milliseconds. What it comes late by, less the time that this process's threads stood in line for
a core (Linux tells it of each thread), is what the program itself did meanwhile on the loop, or elsewhere while it held
the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import os
import time

from aiohttp import web
from aiohttp.typedefs import Handler

BEAT_S = 0.005
LATE_S = 0.02  # what is looked into
HOLD_S = 1.0  # long: threads that wait for this one stand in line for a core too, and are taken off
TASKS = "/proc/self/task"


def in_line_s() -> dict[str, float]:
    """For each thread of this process the seconds that it could have run and had no core."""
    found = {}
    for thread in os.listdir(TASKS):
        try:
            with open(f"{TASKS}/{thread}/schedstat") as file:
                found[thread] = int(file.read().split()[1]) / 1e9
        except (OSError, IndexError):  # the thread has ended
            continue
    return found


class Heart:
    """The task that wakes, and the longest time that it was kept from it."""

    def __init__(self) -> None:
        self.held_s = 0.0

    async def beat(self, app: web.Application) -> None:
        """Start with the server."""
        self._task = asyncio.create_task(self._run(), name="heart")

    async def _run(self) -> None:
        while True:
            began_s, before = time.perf_counter(), in_line_s()
            await asyncio.sleep(BEAT_S)
            late_s = time.perf_counter() - began_s - BEAT_S
            if late_s > LATE_S:
                after = in_line_s()
                waited_s = sum(seconds - before.get(thread, 0.0) for thread, seconds in after.items())
                self.held_s = max(self.held_s, late_s - waited_s)

    @web.middleware
    async def tell(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """GET /tests/held: the longest time since it was last asked, in seconds. /tests/hold does what nothing may."""
        if request.path == "/tests/held":
            held_s, self.held_s = self.held_s, 0.0
            return web.json_response(held_s)
        if request.path == "/tests/hold":
            hold()
            return web.Response()
        return await handler(request)


def hold() -> None:
    """Work for a while."""
    end_s = time.thread_time() + HOLD_S
    while time.thread_time() < end_s:
        pass


def with_heart(app: web.Application) -> web.Application:
    """The application with a heart, which no route shows."""
    heart = Heart()
    app.on_startup.append(heart.beat)
    app.middlewares.insert(0, heart.tell)
    return app
