"""The prompt whose files are being written while the worker goes on with the next one: one at most."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable

from executor.graph.account import Rest
from executor.graph.behind import Behind
from executor.graph.call import NodeFailed

log = logging.getLogger("weft.worker")


class Finishing:
    """Ends a prompt on a thread of its own once its files are there. Use it from the worker's main thread."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._behind: Behind | None = None
        self._computes = False
        self._lock = threading.Lock()

    def begin(self, rest: Rest, end: Callable[[Rest], None]) -> None:
        """Let a prompt end later, by `end` on the thread; the one before has ended (`settle`)."""
        self._behind = rest.behind
        self._thread = threading.Thread(target=end, args=(rest,), name="finishing")
        self._thread.start()

    def __bool__(self) -> bool:
        """Tell whether there is such a prompt."""
        return self._thread is not None

    def has(self, key: Hashable) -> bool:
        """Tell whether its work goes on under a key."""
        return self._behind is not None and self._behind.has(key)

    def settle(self) -> None:
        """Wait until the prompt has ended, and has told so."""
        if self._thread is None or self._behind is None:
            return
        self._thread.join()
        try:
            self._behind.settle()
        except NodeFailed:
            log.debug("the prompt before failed as its files were written: it has told so")
        self._thread = self._behind = None

    # ---------------------------------------------------------------- what both prompts share

    def compute(self, *, computes: bool) -> None:
        """Nodes of a prompt begin to run, or all have."""
        with self._lock:
            self._computes = computes

    def unless_computing(self, do: Callable[[], None]) -> None:
        """Do at a prompt's end, on any thread, what would take something from a prompt that runs beside it.

        Where one does, its own end will do it.
        """
        with self._lock:
            if not self._computes:
                do()
