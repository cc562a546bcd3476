"""Node classes for tests of processes: they sleep, crash, raise, count, and hold the interpreter."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from executor.context import current
from executor.contract.definition import NodeDef
from executor.contract.v1 import describe
from executor.contract.wire import template
from executor.errors import UnknownName

Json = dict[str, object]


class _Output:
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "tests"


class Say(_Output):
    """Shows its text; `salt` makes runs differ."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"text": ("STRING", {})}}

    def run(self, text: str) -> Json:
        return {"ui": {"text": [text]}}


class Sleep(_Output):
    """Sleeps in steps of 10 ms and reports each, so an interrupt gets through."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"seconds": ("FLOAT", {})}, "optional": {"mark": ("STRING", {})}}

    def run(self, seconds: float, mark: str = "") -> Json:
        if mark:
            Path(mark).touch()
        steps = max(1, round(seconds * 100))
        for step in range(steps):
            time.sleep(0.01)
            current().progress(step + 1, steps)
        return {"ui": {"slept": [seconds]}}


class SleepAsync(_Output):
    """Sleeps without holding the prompt's event loop."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"seconds": ("FLOAT", {})}}

    async def run(self, seconds: float) -> Json:
        await asyncio.sleep(seconds)
        return {"ui": {"slept": [seconds]}}


class Crash(_Output):
    """Kills its process the first `times` times; counts them in the file `tally`."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"tally": ("STRING", {}), "times": ("INT", {})}}

    def run(self, tally: str, times: int) -> Json:
        path = Path(tally)
        died = len(path.read_bytes()) if path.exists() else 0
        if died < times:
            path.write_bytes(b"x" * (died + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return {"ui": {"died": [died]}}


class Meet(_Output):
    """Waits in a folder for others of its kind, telling a step; shows its process."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"folder": ("STRING", {}), "name": ("STRING", {}), "count": ("INT", {})}}

    def run(self, folder: str, name: str, count: int) -> Json:
        current().progress(1, 2)
        (Path(folder) / name).touch()
        while len(list(Path(folder).iterdir())) < count:
            current().check_interrupt()
            time.sleep(0.005)
        return {"ui": {"pid": [os.getpid()]}}


class Burn(_Output):
    """Takes so many seconds of a processor."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"seconds": ("FLOAT", {}), "salt": ("INT", {})}}

    def run(self, seconds: float, salt: int) -> Json:
        end_s = time.thread_time() + seconds
        while time.thread_time() < end_s:
            pass
        return {"ui": {"salt": [salt]}}


class Turn(_Output):
    """Is over at once, or takes its worker with it."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"number": ("INT", {}), "deadly": ("BOOLEAN", {})}}

    def run(self, number: int, deadly: bool) -> Json:
        if deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"ui": {"text": (str(number),)}}


class Raise(_Output):
    """Raises ValueError."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"text": ("STRING", {})}}

    def run(self, text: str) -> Json:
        raise ValueError(text)


class HoldInterpreter(_Output):
    """Holds the interpreter lock for a while: no other thread of the process runs."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"seconds": ("FLOAT", {}), "mark": ("STRING", {})}}

    def run(self, seconds: float, mark: str) -> Json:
        import ctypes

        Path(mark).touch()
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # PyDLL calls keep the lock
        return {"ui": {"held": [seconds]}}


class Picky(_Output):
    """Refuses the text "bad" by its own check."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"text": ("STRING", {})}}

    @classmethod
    def VALIDATE_INPUTS(cls, text: str) -> bool | str:
        return "not this one" if text == "bad" else True

    def run(self, text: str) -> Json:
        return {"ui": {"text": [text]}}


CLASSES: Mapping[str, type] = {
    cls.__name__: cls for cls in (Say, Sleep, SleepAsync, Crash, Meet, Burn, Turn, Raise, HoldInterpreter, Picky)
}


class FakeRegistry:
    """The registry of these classes, or of others."""

    def __init__(self, classes: Mapping[str, type] = CLASSES) -> None:
        self.classes = classes
        self.definitions: dict[str, NodeDef] = {name: describe(name, cls) for name, cls in classes.items()}

    def get(self, name: str) -> tuple[NodeDef, type]:
        """A class with its definition."""
        if name not in self.classes:
            raise UnknownName("node", name, self.classes)
        return self.definitions[name], self.classes[name]

    def wire_templates(self) -> dict[str, Json]:
        """The listings."""
        return {name: template(self.definitions[name], cls) for name, cls in self.classes.items()}


def load(services: object) -> FakeRegistry:
    """What a worker calls to get its nodes."""
    return FakeRegistry()
