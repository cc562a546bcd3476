"""Node classes that misbehave in every way that a pack's may. Only for workers that may die of it."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.process.fake_nodes import FakeRegistry, Json, Say, _Output


class Once(_Output):
    """Does its deed unless the file `tally` is there, which it makes first."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"tally": ("STRING", {})}}

    def run(self, tally: str) -> Json:
        path = Path(tally)
        if not path.exists():
            path.touch()
            self.deed()
        return {"ui": {"done": [True]}}

    def deed(self) -> None:
        raise AssertionError("a kind of Once has a deed")


class Segfault(Once):
    """Reads address 0."""

    def deed(self) -> None:
        ctypes.string_at(0)


class OsExit(Once):
    """Ends the process without a word."""

    def deed(self) -> None:
        os._exit(0)


class Exit(Once):
    """Calls exit()."""

    def deed(self) -> None:
        sys.exit("enough")


class Escape(Once):
    """Raises what Ctrl-C would."""

    def deed(self) -> None:
        raise KeyboardInterrupt


class EscapeAsync(Once):
    """The same from an async function."""

    async def run(self, tally: str) -> Json:
        raise KeyboardInterrupt


class Spin(_Output):
    """Loops forever and asks nobody."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"mark": ("STRING", {})}}

    def run(self, mark: str) -> Json:
        Path(mark).touch()
        while True:
            pass


class Leak(_Output):
    """Keeps memory that nobody can free, and a thread that never ends."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"megabytes": ("INT", {})}}

    def run(self, megabytes: int) -> Json:
        hoard = b"x" * (megabytes << 20)
        threading.Thread(target=lambda: (threading.Event().wait(), hoard)).start()
        return {"ui": {"kept": [len(hoard)]}}


CLASSES: Mapping[str, type] = {
    cls.__name__: cls for cls in (Say, Segfault, OsExit, Exit, Escape, EscapeAsync, Spin, Leak)
}


def load(services: object) -> FakeRegistry:
    """What a worker calls to get its nodes."""
    return FakeRegistry(CLASSES)
