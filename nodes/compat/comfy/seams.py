"""Joins names of a module here to seams of the core: assigning one replaces the core's function, reading asks it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import ModuleType

from executor.inference.seams import Seam
from nodes.placeholders import answer


class SeamModule(ModuleType):
    """A module some of whose names are seams."""

    def __setattr__(self, name: str, value: object) -> None:
        seam = vars(self).get("__weft_seams__", {}).get(name)
        if seam is None:
            super().__setattr__(name, value)
        else:
            seam.replace(value)

    def __delattr__(self, name: str) -> None:
        seam = vars(self).get("__weft_seams__", {}).get(name)
        if seam is None:
            super().__delattr__(name)
        else:
            seam.restore()


def joined(module: str, seams: Mapping[str, Seam[..., object]]) -> Callable[[str], object]:
    """The `__getattr__` of a module with seams; names that it lacks are stand-ins."""
    vars(sys.modules[module])["__weft_seams__"] = dict(seams)
    sys.modules[module].__class__ = SeamModule

    def __getattr__(name: str) -> object:  # noqa: N807  (a module's own hook)
        if name in seams:
            return seams[name].current
        return answer(module, name, sys._getframe(1))

    return __getattr__
