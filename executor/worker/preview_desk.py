"""Makes pictures of the work so far beside the work: the newest one that nobody has begun waits, others are let go.

Knows neither pictures nor where they are sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class PreviewDesk:
    """One picture is made at a time, on a thread that lives as long as there are some; one more waits at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    def offer(self, make: Callable[[], None]) -> None:
        """Let a picture be made and sent soon; it takes the place of one that waits. Never waits itself."""
        with self._lock:
            self._next = make
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="previews", daemon=True)
                self._thread.start()

    def settle(self) -> None:
        """Drop what waits, and wait for what is being made: nothing is sent after this."""
        with self._lock:
            self._next = None
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        try:
            self._make_all()
        finally:  # a picture that failed in a way nobody foresaw ends the thread; the next one gets another
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _make_all(self) -> None:
        while True:
            with self._lock:
                make, self._next = self._next, None
                if make is None:
                    self._thread = None
                    return
            make()
