"""Where packs' own checks of inputs run (VALIDATE_INPUTS): one after another, as in ComfyUI, on a loop of their own.

Behind one that takes its time the next ones go on elsewhere, so that one that never ends closes the server to nobody.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from executor.errors import NotReady
from executor.worker.loop_thread import LoopThread

T = TypeVar("T")

NAME = "weft-checks"
SLOW_S = 1.0  # how long a check waits for those before it
MOST = 16  # that may run beside each other


class Checks:
    """The threads that checks run on: one, and one more for each that is slow. Use it from one event loop."""

    def __init__(self, on_exit: Callable[[SystemExit], None]) -> None:
        self._on_exit = on_exit
        self._idle: list[LoopThread] = []
        self._busy: dict[LoopThread, asyncio.Future[Any]] = {}

    async def run(self, check: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What a check answers; NotReady where MOST others have not ended."""
        thread = await self._free()
        answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(check(), thread.loop))
        self._busy[thread] = answer
        try:
            return await asyncio.shield(answer)
        finally:
            if answer.done():
                self._left(thread)
            else:  # nobody waits for it any more
                answer.add_done_callback(lambda done: self._left_behind(thread, done))

    def is_current(self) -> bool:
        """Tell whether the caller is a check."""
        return threading.current_thread().name == NAME

    def close(self) -> None:
        """End what rests; a check that has not ended ends with the process."""
        for thread in self._idle:
            thread.close()

    async def _free(self) -> LoopThread:
        """A thread with nothing to do: a new one, where none becomes free in time."""
        clock = asyncio.get_running_loop().time
        end_s = clock() + SLOW_S
        while self._busy and not self._idle and (left_s := end_s - clock()) > 0:
            await asyncio.wait(set(self._busy.values()), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # who waited for it leaves the thread first
        if self._idle:
            return self._idle.pop()
        if len(self._busy) >= MOST:
            raise NotReady(f"{MOST} checks (VALIDATE_INPUTS) of custom nodes have not ended, so no other one begins")
        return LoopThread(NAME, self._on_exit)

    def _left(self, thread: LoopThread) -> None:
        del self._busy[thread]
        if self._idle:
            thread.close()
        else:
            self._idle.append(thread)

    def _left_behind(self, thread: LoopThread, answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled():
            answer.exception()  # nobody else asks for it
        self._left(thread)
