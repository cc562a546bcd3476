"""The list of families under the name that packs change. An entry that is no family of Weft is kept and never matched.

The classes of single families are stand-ins.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

from executor.inference import families as _families
from executor.inference.families.base import Family
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)

models: list[object] = list(_families.FAMILIES)


class _Module(ModuleType):
    """This module; its list is asked whenever a file is opened, once a pack has put one of its own in place."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "models":

            def of_packs() -> Sequence[Family]:
                return [family for family in value if hasattr(family, "build") and hasattr(family, "sampling")]

            of_packs.__qualname__ = "models"
            _families.families.replace(of_packs)


sys.modules[__name__].__class__ = _Module
