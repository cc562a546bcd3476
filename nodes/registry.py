"""Which node classes exist, by name, and how they are listed. Knows neither graphs nor HTTP."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType

from executor.contract import v1, wire
from executor.contract.definition import NodeDef
from executor.errors import UnknownName

logger = logging.getLogger("weft.nodes")


class Registry:
    """Name → definition and class; open while nodes are loaded, frozen before the first prompt.

    When two classes want one name, a built-in one stays and a later pack replaces an earlier one.
    """

    def __init__(self) -> None:
        self._classes: dict[str, type] = {}
        self._definitions: dict[str, NodeDef] = {}
        self._display_names: dict[str, str | None] = {}
        self._builtin: set[str] = set()
        self._frozen = False

    def add(self, cls: type, *, name: str | None = None, pack: str | None = None, builtin: bool = False) -> bool:
        """Take a node class in; False when a built-in class keeps the name.

        RuntimeError once the registry is frozen; else raises what describing the class raises.
        """
        if self._frozen:
            raise RuntimeError(f"node {name or cls.__name__!r} comes too late: the list of nodes is closed")
        name = name or cls.__name__
        if name in self._builtin:
            logger.warning("node %s of %s is left out: Weft has one of that name", name, pack or cls.__module__)
            return False
        if name in self._classes:
            logger.warning("node %s of %s replaces the one of %s", name, pack, self._definitions[name].pack)
        shown: str | None = getattr(cls, "DISPLAY_NAME", None)
        definition = v1.describe(name, cls, display_name=shown, pack=pack or str(getattr(cls, "PACK", "nodes")))
        self._classes[name] = cls
        self._definitions[name] = definition
        self._display_names[name] = shown
        if builtin:
            self._builtin.add(name)
        return True

    def freeze(self) -> None:
        """Close the registry: from now on it only answers."""
        self._frozen = True

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __len__(self) -> int:
        return len(self._classes)

    @property
    def definitions(self) -> Mapping[str, NodeDef]:
        """Name → definition, in the order of listing."""
        return MappingProxyType(self._definitions)

    def get(self, name: str) -> tuple[NodeDef, type]:
        """Definition and class of a node; UnknownName with the nearest name if there is none."""
        if name not in self._classes:
            raise UnknownName("node", name, self._classes)
        return self._definitions[name], self._classes[name]

    def wire_templates(self) -> dict[str, wire.Json]:
        """Name → /object_info entry with markers for lists of files; a class that cannot be listed is left out."""
        entries: dict[str, wire.Json] = {}
        for name, cls in self._classes.items():
            try:
                entry = wire.template(self._definitions[name], cls)
            except Exception:  # a pack's INPUT_TYPES may raise anything; the others have to be listed
                logger.exception("node %s cannot be listed", name)
                continue
            if self._definitions[name].contract == "v3" and self._display_names[name] is None:
                entry["display_name"] = None
            entries[name] = entry
        return entries
