"""What the engine asks of the table of node classes. Knows none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from executor.contract.definition import NodeDef


class Registry(Protocol):
    """The node classes there are."""

    @property
    def definitions(self) -> Mapping[str, NodeDef]:
        """The definition of every class, by name."""
        ...

    def get(self, name: str) -> tuple[NodeDef, type]:
        """A class and its definition; an error naming the nearest if there is none."""
        ...
