"""Pictures of a sequence, which a `ui` names by one pattern (`x_00001.%03d.png`) and how many `frames` it has."""

from __future__ import annotations

import re
from collections.abc import Mapping

MOST_FRAMES = 10_000
"""So many pictures of a sequence are named at most."""
_PLACE = re.compile(r"%0(\d)d(?=[^%]*$)")


def numbered(pattern: str, number: int) -> str:
    """The name of one picture of a sequence; the first has the number 1."""
    return _PLACE.sub(lambda found: f"{number:0{found[1]}d}", pattern)


def file_names(shown: Mapping[str, object]) -> list[str]:
    """The names of the files that an item of a `ui` shows: its `filename`, or those of all pictures of a sequence."""
    name, frames = str(shown.get("filename") or ""), shown.get("frames")
    if "%" not in name or not isinstance(frames, int) or _PLACE.search(name) is None:
        return [name]
    return [numbered(name, number) for number in range(1, min(frames, MOST_FRAMES) + 1)]
