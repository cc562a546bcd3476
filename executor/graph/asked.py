"""What a running prompt asks of whoever runs it, and the answers where nobody cares."""

from __future__ import annotations

from collections.abc import Callable

TipFor = Callable[[BaseException], str]
"""Advice that ends the message of an error ("" for none); told of every node failure before it is reported."""

Stands = Callable[[object], bool]
"""Tells whether what a ui shows is still there."""

Leaves = Callable[[], bool]
"""Tells whether the next prompt may come while files are written; asked when a node has some to write."""


def no_tip(failure: BaseException) -> str:
    """Give no advice."""
    return ""


def standing(ui: object) -> bool:
    """Say so of everything, where nobody looks."""
    return True


def staying() -> bool:
    """Wait for all files, where nobody comes next."""
    return False
