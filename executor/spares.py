"""Empty files that serve again as records: given by the front, taken by workers, each by a rename.

A server that made and removed a file for each prompt would slow down the making of all its files: ext4 gives no
number of a file that was removed in the last minutes to another one, and looks through all of them each time (up to a
millisecond, where a rename takes 20 microseconds).
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

MOST = 256
LOOK_S = 0.25  # between two looks for new ones


class Spares:
    """The spare files in one folder, which need not be there. Safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._look_at_s = 0.0  # time.monotonic()
        self._lock = threading.Lock()

    def take(self, path: str) -> bool:
        """Have an empty file under a name that nobody has; False where there is none to be had."""
        with self._lock:
            while self._names or self._look():
                with suppress(OSError):  # another worker has it
                    os.rename(os.path.join(self._folder, self._names.pop()), path)
                    return True
        return False

    def give(self, file: Path) -> None:
        """A file is of no use any more, and nobody has it open: it goes, and may come again, empty."""
        with self._lock:
            if self._count() >= MOST:
                file.unlink()
                return
            os.truncate(file, 0)
            self._folder.mkdir(parents=True, exist_ok=True)
            os.rename(file, self._folder / file.name)
            self._names.append(file.name)

    def _count(self) -> int:
        if len(self._names) >= MOST:  # workers may have taken some
            self._names = self._listed()
        return len(self._names)

    def _look(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + LOOK_S
        self._names = self._listed()
        return bool(self._names)

    def _listed(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except OSError:
            return []
