"""`comfy_api.latest.io`: schemas, types, inputs and outputs. The classes are Weft's own (executor.contract.v3).

A type that only newer versions know is answered with a plain type of that name: a node that uses it is listed and can
be linked to its like.
"""

from __future__ import annotations

import re
import sys
from functools import cache

from executor.contract.v3 import io as known
from executor.contract.v3.io import *  # noqa: F403  # the names are that module's __all__
from executor.contract.v3.sockets import ComfyTypeIO, Input, comfytype
from nodes import placeholders

__all__ = known.__all__


def __getattr__(name: str) -> object:
    """A type that is not known here; AttributeError for a test whether it is."""
    found = placeholders.answer(__name__, name, sys._getframe(1))
    return _newer(name) if re.match("[A-Z]", name) else found


@cache
def _newer(name: str) -> type[ComfyTypeIO]:
    """A type named after its class (`BoundingBox`: BOUNDING_BOX) whose inputs take any option."""

    class AnyInput(Input):
        """An input with whatever options there are."""

        def __init__(self, id: str, *positional: object, **options: object) -> None:
            known = {key: options.pop(key) for key in ("display_name", "optional", "tooltip", "lazy") if key in options}
            options |= options.pop("extra_dict", None) or {}
            super().__init__(id, **known, extra_dict=options)

    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return comfytype(io_type=words.upper())(type(name, (ComfyTypeIO,), {"Input": AnyInput}))
