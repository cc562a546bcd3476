"""The event loop that prompts run on, one after another: made once, since making one costs more than a small prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class PromptLoop:
    """Runs coroutines as asyncio.run does, on one loop as long as each leaves it clean. Use it from one thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: _Threads | None = None
        self._left = False  # whether the last coroutine left tasks

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """The coroutine's value; tasks and threads that it leaves are ended, and the loop with them."""
        loop = self._loop
        if loop is None or loop.is_closed():
            loop = self._loop = asyncio.new_event_loop()
            self._threads = _Threads()
            loop.set_default_executor(self._threads)
        try:
            return loop.run_until_complete(self._swept(main))
        finally:
            if not loop.is_closed() and (self._left or (self._threads is not None and self._threads.used)):
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()

    def close(self) -> None:
        """End the loop."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.close()

    async def _swept(self, main: Coroutine[Any, Any, T]) -> T:
        """The coroutine's value, once the tasks and generators that it leaves are over."""
        loop = asyncio.get_running_loop()
        self._left = True
        try:
            return await main
        finally:
            left = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
            for task in left:
                task.cancel()
            if left:
                await asyncio.gather(*left, return_exceptions=True)
            await loop.shutdown_asyncgens()
            self._left = bool(left)


class _Threads(ThreadPoolExecutor):
    """A loop's default threads, which remember whether any was wanted."""

    used = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call on a thread."""
        self.used = True
        return super().submit(fn, *args, **kwargs)
