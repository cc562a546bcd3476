"""A checkpoint from its file into memory, weights in the file's type, beside one reading of the file's bytes.

Weft maps the file and has it read on a thread meanwhile: here a load counts as done when every page of every weight
was touched. Imports are done before, and kept from the collector, as a worker does. Cold: the system was told to drop
the file's pages (posix_fadvise), which it does for pages that nobody maps. Warm comes after it: which pages a file lies
in is settled when it is read, and a file that was just written may lie in others. Figure and floor take turns.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.figures import Figure, absent, median
from benchmarks.model_files import DEMO, full_size
from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from executor.inference.reading_ahead import READING_AHEAD

ROUNDS = 3
WARM_ROUNDS = 15  # of a quarter of a second: one that something else disturbs says nothing
BLOCK = 1 << 24
PAGE = 4096


def figures(path: Path | None = None) -> list[Figure]:
    """Cold and warm loads of a file, the full-size one by default, and what the load takes before a page is touched."""
    path = full_size() if path is None else path
    load_s(DEMO)  # imports
    load_s(path)
    settle()
    gc.freeze()
    colds = in_the_cold(path)
    rows = [(settled(path, floor_s), settled(path, load_s), settled(path, map_s)) for _ in range(WARM_ROUNDS)]
    floor, warm, mapped = (median(column) for column in zip(*rows, strict=True))
    gc.unfreeze()
    return [
        *colds,
        Figure(name="checkpoint load, warm", value=warm, unit="s", floor=floor, floor_name="read the file's bytes",
               most_ratio=1.3),
        Figure(name="checkpoint mapped, pages untouched", value=mapped, unit="s"),
    ]  # fmt: skip


def in_the_cold(path: Path) -> list[Figure]:
    """A load of a file that the system does not hold in memory."""
    name = "checkpoint load, cold"
    if not can_cool():
        return absent([name], "this system cannot be told to drop a file's pages")
    rows = [(cold(path, floor_s), cold(path, load_s)) for _ in range(ROUNDS)]
    floor, load = (median(column) for column in zip(*rows, strict=True))
    floor_name = "read the file's bytes, cold"
    return [Figure(name=name, value=load, unit="s", floor=floor, floor_name=floor_name, most_ratio=1.3)]


def can_cool() -> bool:
    """Whether this system can be told to drop a file's pages."""
    return hasattr(os, "posix_fadvise")


def cold(path: Path, measure: Callable[[Path], float]) -> float:
    """A measurement after the file's pages were dropped."""
    settle()
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)
    return measure(path)


def settled(path: Path, measure: Callable[[Path], float]) -> float:
    """A measurement with nothing of earlier loads about."""
    settle()
    return measure(path)


def settle() -> None:
    """Wait until nothing is read any more, and give mappings of earlier loads back."""
    for thread in threading.enumerate():
        if thread.name == READING_AHEAD:
            thread.join()
    gc.collect()


def floor_s(path: Path) -> float:
    """Seconds to read a file's bytes once, into one buffer."""
    block = bytearray(BLOCK)
    start = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.readinto(block):
            pass
    return time.perf_counter() - start


def load_s(path: Path) -> float:
    """Seconds until a checkpoint's weights are in memory."""
    start = time.perf_counter()
    checkpoint = opened(path)
    for weights in checkpoint:
        for weight in weights:
            touch(weight)
    return time.perf_counter() - start


def map_s(path: Path) -> float:
    """Seconds until a checkpoint is open."""
    start = time.perf_counter()
    checkpoint = opened(path)
    taken = time.perf_counter() - start
    del checkpoint
    return taken


def opened(path: Path) -> list[list[Tensor]]:
    """The weights of a checkpoint's three parts, as nodes would have them."""
    checkpoint = load_checkpoint(path, Memory(torch.device("cpu"), "low"))
    assert checkpoint.clip is not None
    parts = (checkpoint.model.model.part, checkpoint.clip.part, checkpoint.vae.part)
    for part in parts:
        checkpoint.model.memory.load(part)
    return [list(part.weights.values()) for part in parts]


def touch(weight: Tensor) -> None:
    """Read one byte of every page of a tensor."""
    weight.flatten().view(torch.uint8)[::PAGE].sum()
