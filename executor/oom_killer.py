"""What Linux does when main memory runs out: it kills a process. Makes a worker the first choice, tells of kills."""

from __future__ import annotations

import contextlib
from pathlib import Path

OWN_SCORE = Path("/proc/self/oom_score_adj")  # proc(5): -1000 never, 1000 first
COUNTS = Path("/proc/vmstat")
SOONER = 500  # half of all memory: a worker goes before the front and before other programs of its size
FIRST = 1000


def volunteer(score: Path = OWN_SCORE) -> None:
    """Let this process be killed before others when memory runs out; does nothing where that cannot be said."""
    with contextlib.suppress(OSError, ValueError):
        score.write_text(str(min(int(score.read_text()) + SOONER, FIRST)))


def kills(counts: Path = COUNTS) -> int | None:
    """How many processes were killed for want of memory since the system's start; None where that is not told."""
    try:
        rows = counts.read_text().splitlines()
    except OSError:
        return None
    return next((int(row.split()[1]) for row in rows if row.startswith("oom_kill ")), None)
