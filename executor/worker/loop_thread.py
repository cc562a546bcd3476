"""An event loop on a thread of its own. Knows neither what runs on it nor the front."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

STOP_S = 1.0


class LoopThread:
    """Begins when it is first asked for; code on it that exits is told to `on_exit`, and ends it."""

    def __init__(self, name: str, on_exit: Callable[[SystemExit], None]) -> None:
        self._name, self._on_exit = name, on_exit
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, which runs."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
                self._up.wait()
        assert self._loop is not None, "it is there once it is up"
        return self._loop

    def is_current(self) -> bool:
        """Tell whether the caller runs on it."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """End it, and wait a moment for that: what blocks it ends with the process."""
        loop, ending = self._loop, self._ending
        if loop is None or ending is None or self._thread is None:
            return
        if loop.is_running():
            loop.call_soon_threadsafe(ending.set)
        self._thread.join(STOP_S)

    def _serve(self) -> None:
        try:
            asyncio.run(self._live())
        except SystemExit as error:
            self._on_exit(error)

    async def _live(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        self._up.set()
        await self._ending.wait()
