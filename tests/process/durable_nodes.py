"""Nodes for tests of a server that must not lose anything: they write files, fail in every way, and take their time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from executor.context import current, finishing_later
from nodes.builtin.picture_files import output_root, write_atomically
from nodes.builtin.services import attempt, services
from tests.process import fake_nodes, wild_nodes
from tests.process.fake_nodes import FakeRegistry, Json, _Output


class Write(_Output):
    """Writes `count` files, and kills its process after them the first `deaths` times; the file `tally` counts."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {
            "required": {"name": ("STRING", {}), "count": ("INT", {}), "bytes": ("INT", {})},
            "optional": {
                "tally": ("STRING", {}),
                "deaths": ("INT", {}),
                "salt": ("STRING", {}),
                "ending": ("STRING", {}),
            },
        }

    def run(
        self,
        name: str,
        count: int,
        bytes: int,
        tally: str = "",
        deaths: int = 0,
        salt: str = "",
        ending: str = ".bin",
    ) -> Json:
        place = services().folders.next_name(name, output_root("output"))
        shown = []
        for number in range(count):
            filename = f"{place.stem}_{place.counter + number:05}_{ending}"
            write_atomically(place.folder / filename, lambda file: file.write(b"x" * bytes))
            shown.append({"filename": filename, "subfolder": place.subfolder, "type": "output"})
        path = Path(tally)
        if tally and (died := len(path.read_bytes()) if path.exists() else 0) < deaths:
            path.write_bytes(b"x" * (died + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return {"ui": {"files": shown}}


class Speak(_Output):
    """Writes lines by print, from a thread, past Python, and by a program of its own."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"text": ("STRING", {})}}

    def run(self, text: str) -> Json:
        print("printed", text)  # noqa: T201
        thread = threading.Thread(target=lambda: sys.stderr.write(f"thread {text}\n"))
        thread.start()
        thread.join()
        os.write(2, f"native {text}\n".encode())
        subprocess.run([sys.executable, "-c", f"print('program {text}')"], check=True)
        return {"ui": {"text": [text]}}


class Recurse(_Output):
    """Calls itself without end."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {}}

    def run(self) -> Json:
        return self.run()


class Hoard(_Output):
    """Wants more memory than there is."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"tensor": ("BOOLEAN", {})}}

    def run(self, tensor: bool) -> Json:
        return {"ui": {"size": [len(torch.empty(1 << 60) if tensor else bytearray(1 << 60))]}}


class LoseDevice(_Output):
    """Fails as a kernel does whose assertion failed: CUDA is lost until the process ends."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"kind": ("STRING", {})}}

    def run(self, kind: str) -> Json:
        raise {"AcceleratorError": torch.AcceleratorError, "RuntimeError": RuntimeError}[kind](
            "CUDA error: device-side assert triggered"
        )


class Steps(_Output):
    """Does `steps` steps of `seconds` each; with a file `go`, waits in the middle until that is there."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"steps": ("INT", {}), "seconds": ("FLOAT", {})}, "optional": {"go": ("STRING", {})}}

    def run(self, steps: int, seconds: float, go: str = "") -> Json:
        for step in range(steps):
            time.sleep(seconds)
            current().progress(step + 1, steps)
            while go and step == steps // 2 - 1 and not Path(go).exists():
                current().check_interrupt()
                time.sleep(0.01)
        return {"ui": {"steps": [steps]}}


class Shout(_Output):
    """Sends `count` texts of `bytes` bytes to everybody."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"count": ("INT", {}), "bytes": ("INT", {}), "salt": ("INT", {})}}

    def run(self, count: int, bytes: int, salt: int) -> Json:
        context = current()
        for _ in range(count):
            context.sink.text(context.node_id, "x" * bytes)
        return {"ui": {"shouted": [count]}}


class Late(_Output):
    """Hands over to a thread what writes its file and waits for the file `go`; each run adds a byte to `mark`."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"name": ("STRING", {}), "mark": ("STRING", {}), "go": ("STRING", {})}}

    @finishing_later
    def run(self, name: str, mark: str, go: str) -> Json:
        folders, record = services().folders, attempt()
        place = folders.next_name(name, output_root("output"), count=1)
        path = place.folder / f"{place.stem}_{place.counter:05}_.bin"
        folders.promise([path])

        def write() -> None:
            write_atomically(path, lambda file: file.write(b"late"), record)
            folders.keep([path])
            _count(mark)
            while not Path(go).exists():
                time.sleep(0.005)

        if not current().finish_later(lambda: write, 1 << 20):
            write()
        return {"ui": {"files": [{"filename": path.name, "subfolder": place.subfolder, "type": "output"}]}}


class Hold(_Output):
    """Writes a file, adds a byte to `mark`, and waits until the file `go` is there."""

    @classmethod
    def INPUT_TYPES(cls) -> Json:
        return {"required": {"name": ("STRING", {}), "mark": ("STRING", {}), "go": ("STRING", {})}}

    def run(self, name: str, mark: str, go: str) -> Json:
        place = services().folders.next_name(name, output_root("output"), count=1)
        filename = f"{place.stem}_{place.counter:05}_.bin"
        write_atomically(place.folder / filename, lambda file: file.write(b"hold"))
        _count(mark)
        while not Path(go).exists():
            current().check_interrupt()
            time.sleep(0.005)
        return {"ui": {"files": [{"filename": filename, "subfolder": place.subfolder, "type": "output"}]}}


def _count(mark: str) -> None:
    with Path(mark).open("ab") as file:
        file.write(b"x")


CLASSES: Mapping[str, type] = {
    **fake_nodes.CLASSES,
    **wild_nodes.CLASSES,
    **{cls.__name__: cls for cls in (Write, Speak, Recurse, Hoard, LoseDevice, Steps, Shout, Late, Hold)},
}


def load(services: object) -> FakeRegistry:
    """What a worker calls to get its nodes."""
    return FakeRegistry(CLASSES)
