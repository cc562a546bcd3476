"""How long and how much of something is kept: ages, sizes and numbers as people write them. Knows no files."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

ALL = "all"
"""The word for no bound."""

AGES_S = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SIZES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
NUMBERS = {"file": 1, "files": 1}
EXAMPLES = "30d (s, min, h, d, w), 20GB (KB, MB, GB, TB) or 5000files"

_BOUND = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What may stay: what is younger than `age_s`, `nbytes` and `count` in all; None is no bound."""

    age_s: float | None = None
    nbytes: int | None = None
    count: int | None = None

    @property
    def is_bounded(self) -> bool:
        """Tell whether anything is ever too much."""
        return self != UNBOUNDED


UNBOUNDED = Keep()


def keep_of(words: Sequence[str]) -> Keep:
    """What bounds such as "30d", "20GB", "5000files" say together; "all" alone, or none, is no bound.

    Raises ValueError for a word that is none, for two of one kind, and for a bound that would keep nothing.
    """
    given: dict[str, float] = {}
    bounds = [word for word in words if word.strip().lower() != ALL]
    if bounds and len(bounds) < len(words):
        raise ValueError(f"{ALL!r} and {bounds[0]!r} contradict each other")
    for word in bounds:
        kind, value = _bound(word)
        if kind in given:
            raise ValueError(f"{' and '.join(map(repr, bounds))} bound the same thing: give one")
        given[kind] = value
    return Keep(
        age_s=given.get("age"),
        nbytes=int(given["size"]) if "size" in given else None,
        count=int(given["number"]) if "number" in given else None,
    )


def _bound(word: str) -> tuple[str, float]:
    found = _BOUND.fullmatch(word.strip())
    unit = found[2].lower() if found else ""
    for kind, units in (("age", AGES_S), ("size", SIZES), ("number", NUMBERS)):
        if found and unit in units:
            value = float(found[1]) * units[unit]
            if value <= 0 or not math.isfinite(value) or (kind != "age" and value < 1):
                raise ValueError(f"{word!r} would keep nothing")
            return kind, value
    raise ValueError(f"{word!r} is no bound; write {EXAMPLES}, or {ALL}")


# ---------------------------------------------------------------- for people


def age_text(seconds: float) -> str:
    """An age in its largest whole unit: "9 d"."""
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def size_text(nbytes: float) -> str:
    """A size in decimal units: "1.2 MB"."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= size:
            return f"{nbytes / size:.1f} {unit}"
    return f"{nbytes:.0f} bytes"
