"""Functions that packs are known to replace, replaceable on purpose, and who replaced them.

Everything else that a pack assigns lands on a module of nodes/compat and changes nothing here (design section 5.4).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, ParamSpec, TypeVar, cast

from executor.errors import UnknownName

log = logging.getLogger("weft.packs")

P = ParamSpec("P")
R = TypeVar("R")


class Seam(Generic[P, R]):
    """A function that another may take the place of; calling it calls the one in place."""

    def __init__(self, name: str, original: Callable[P, R]) -> None:
        self.name, self.original = name, original
        self.current: Callable[P, R] = original
        functools.update_wrapper(self, original, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in place."""
        return self.current(*args, **kwargs)

    @property
    def is_replaced(self) -> bool:
        """Whether another function is in place."""
        return self.current is not self.original

    def replace(self, function: Callable[P, R]) -> None:
        """Put another function in place; the original one, or this seam itself, restores it."""
        if function is self or function is self.original:
            self.current = self.original
            return
        self.current = function
        log.info("%s is replaced by %s", self.name, told(function))

    def restore(self) -> None:
        """Put the original back."""
        self.current = self.original


SEAMS: dict[str, Seam[..., object]] = {}
"""Every seam by the name that packs assign to, filled as the modules that hold them are imported."""


def seam(name: str) -> Callable[[Callable[P, R]], Seam[P, R]]:
    """Let a function be replaced under a name below `comfy`, such as "sample.prepare_noise"."""

    def declare(function: Callable[P, R]) -> Seam[P, R]:
        declared = Seam(name, function)
        SEAMS[name] = cast("Seam[..., object]", declared)
        return declared

    return declare


def find(name: str) -> Seam[..., object]:
    """The seam of a name; UnknownName with the nearest if there is none."""
    if name not in SEAMS:
        raise UnknownName("seam", name, SEAMS)
    return SEAMS[name]


def report() -> list[dict[str, str]]:
    """The seams that are replaced, and by which function: [{"seam", "replaced_by"}]."""
    return [{"seam": name, "replaced_by": told(each.current)} for name, each in SEAMS.items() if each.is_replaced]


@contextmanager
def kept() -> Iterator[None]:
    """Put every seam back at the end as it was at the start."""
    before = {name: each.current for name, each in SEAMS.items()}
    try:
        yield
    finally:
        for name, each in SEAMS.items():
            each.current = before.get(name, each.original)


def told(function: object) -> str:
    """Where a function comes from, for people."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{module}.{name}" if module else str(name)
