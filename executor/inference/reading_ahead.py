"""Brings a mapped file into memory while its modules are built, on a thread: on Linux, from 5.14 on.

Without it each page comes when a weight is first used, in small pieces from the disk. Sources: madvise(2), and
`do_sync_mmap_readahead` for what large pages do to reading.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Thread

import torch

from executor.large_pages import MADV_HUGEPAGE, advice
from executor.main_memory import main_memory_free

MADV_POPULATE_READ = 22
LEAST_BYTES = 64 << 20  # of a file; smaller ones are read in no time
FEWEST_PER_FILE = 2  # files that the free memory could hold: what does not stay would be read twice
STEP = 32 << 20  # bytes that are asked for at once
READING_AHEAD = "weft-reading-ahead"
"""What its threads are called."""


def read_ahead(mapped: torch.UntypedStorage) -> Thread | None:
    """Begin to read a mapped file; what does so, or None for small files and those that memory hardly holds."""
    nbytes = mapped.nbytes()
    madvise = advice() if sys.platform == "linux" and nbytes >= LEAST_BYTES else None
    if madvise is None or main_memory_free() < FEWEST_PER_FILE * nbytes:
        return None
    madvise(mapped.data_ptr(), nbytes, MADV_HUGEPAGE)  # 2 MiB of the file at a time, where its file system can
    thread = Thread(target=read, args=(mapped, madvise), name=READING_AHEAD, daemon=True)
    thread.start()
    return thread


def read(mapped: torch.UntypedStorage, madvise: Callable[[int, int, int], int]) -> None:
    """Read a mapped file to its end, or until the system refuses."""
    start, nbytes = mapped.data_ptr(), mapped.nbytes()
    for place in range(0, nbytes, STEP):
        if madvise(start + place, min(STEP, nbytes - place), MADV_POPULATE_READ) != 0:
            return
