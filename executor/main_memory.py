"""How much main memory there is and is free, for this process: a container's own limit counts too."""

from __future__ import annotations

from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
FILE_CACHE = ("inactive_file", "active_file")
"""What a container's files take of its memory, and give up when it is asked for."""


def main_memory_free(cgroup: Path = CGROUP) -> int:
    """Bytes of main memory that new data can take."""
    free: int = psutil.virtual_memory().available
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    return free if limit is None or used is None else min(free, max(0, limit - used + _cached(cgroup)))


def main_memory_total(cgroup: Path = CGROUP) -> int:
    """Bytes of main memory in all."""
    total: int = psutil.virtual_memory().total
    limit = _number(cgroup / "memory.max")
    return total if limit is None else min(total, limit)


def _cached(cgroup: Path) -> int:
    try:
        lines = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return sum(int(lines.get(name, 0)) for name in FILE_CACHE)
    except (OSError, ValueError):
        return 0


def _number(path: Path) -> int | None:
    """The number in a file, None if there is no file or it says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
