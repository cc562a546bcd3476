"""Which node classes exist, by name, and how they are listed. Knows neither graphs nor HTTP."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import msgspec

from executor.contract import wire
from executor.contract.definition import NodeDef
from executor.contract.describe import describe
from executor.errors import UnknownName

logger = logging.getLogger("weft.nodes")

BUILTIN = "nodes"
SLOW_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A node class and what is told of it; `told` is its listing when it was told last, as text."""

    cls: type
    definition: NodeDef
    shown: str | None = None
    builtin: bool = False
    told: bytes = b""

    @property
    def yields(self) -> bool:
        """A class of ours that stands in for a pack's makes room when the pack itself is there."""
        return not self.builtin or self.definition.pack.startswith("custom_nodes.")


class Registry:
    """Name → definition and class; open while nodes are loaded, frozen before the first prompt.

    When two classes want one name, a built-in one stays and a later pack replaces an earlier one. `refresh` describes
    pack classes anew at any time, from any thread.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._definitions: dict[str, NodeDef] = {}
        self._frozen = False
        self._lock = threading.RLock()
        self._slow: set[str] = set()  # classes that take long to describe: only when they are asked for by name
        self._looked = 0  # how many pack classes `changed` has looked at, over all its calls

    def add(
        self,
        cls: type,
        *,
        name: str | None = None,
        shown: str | None = None,
        pack: str | None = None,
        builtin: bool = False,
        force: bool = False,
        late: bool = False,
    ) -> bool:
        """Take a node class in; False when a built-in class keeps the name (unless `force`).

        RuntimeError once the registry is frozen (unless `late`); else raises what describing the class raises.
        """
        if self._frozen and not late:
            raise RuntimeError(f"node {name or cls.__name__!r} comes too late: the list of nodes is closed")
        name = name or cls.__name__
        known = self._entries.get(name)
        if known is not None and not (known.yields or force):
            logger.warning("node %s of %s is left out: Weft has one of that name", name, pack or cls.__module__)
            return False
        if known is not None and not known.builtin and known.cls is not cls:
            logger.warning("node %s of %s replaces the one of %s", name, pack, known.definition.pack)
        shown = shown or getattr(cls, "DISPLAY_NAME", None)
        definition = describe(name, cls, display_name=shown, pack=pack or str(getattr(cls, "PACK", BUILTIN)))
        self._put(Entry(cls=cls, definition=definition, shown=shown, builtin=builtin))
        return True

    def remove(self, name: str) -> None:
        """Take a node class out."""
        with self._lock:
            self._entries.pop(name, None)
            self._definitions.pop(name, None)

    def freeze(self) -> None:
        """Close the registry: from now on it only answers."""
        self._frozen = True

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def definitions(self) -> Mapping[str, NodeDef]:
        """Name → definition, in the order of listing."""
        return MappingProxyType(self._definitions)

    def builtin(self, name: str) -> type | None:
        """The built-in class of that name, or None."""
        entry = self._entries.get(name)
        return entry.cls if entry is not None and entry.builtin else None

    def get(self, name: str) -> tuple[NodeDef, type]:
        """Definition and class of a node; UnknownName with the nearest name if there is none."""
        entry = self._entries.get(name)
        if entry is None:
            raise UnknownName("node", name, self._entries)
        return entry.definition, entry.cls

    def wire_templates(self) -> dict[str, wire.Json]:
        """Name → /object_info entry with markers for lists of files; a class that cannot be listed is left out."""
        entries: dict[str, wire.Json] = {}
        for name, entry in list(self._entries.items()):
            try:
                listing = self._listing(entry)
            except Exception:  # a pack's INPUT_TYPES may raise anything; the others have to be listed
                logger.exception("node %s cannot be listed", name)
                continue
            entries[name] = listing
            if not entry.builtin:
                self._put(replace(entry, told=_fingerprint(entry.definition, listing)))
        return entries

    # ---------------------------------------------------------------- described anew

    def fresh(self, names: Iterable[str]) -> tuple[list[NodeDef], dict[str, wire.Json]]:
        """These classes as they are now; one that cannot be described keeps its definition and has no listing."""
        definitions, listings = [], {}
        for name in names:
            definition, listing = self._describe(name)
            definitions.append(definition)
            if listing is not None:
                listings[name] = listing
        return definitions, listings

    def changed(
        self, limit_s: float, enough: Callable[[], bool] = lambda: False
    ) -> tuple[list[NodeDef], dict[str, wire.Json]]:
        """The pack classes that are listed otherwise than when they were told last, as far as time allows.

        It also stops when `enough` says so; the next call goes on where this one stopped.
        """
        until_s = time.monotonic() + limit_s
        definitions, listings = [], {}
        names = [name for name, entry in list(self._entries.items()) if not entry.builtin]
        for _ in names:
            if time.monotonic() > until_s or enough():
                break
            name = names[self._looked % len(names)]
            self._looked += 1
            if name in self._slow:
                continue
            before = self._entries[name].told
            definition, listing = self._describe(name)
            if self._entries[name].told != before:
                definitions.append(definition)
                if listing is not None:
                    listings[name] = listing
        return definitions, listings

    def seen(
        self, names: Iterable[str], *, differing: bool, limit_s: float
    ) -> tuple[list[NodeDef], dict[str, wire.Json]]:
        """These classes as they are now, and with `differing` every pack class listed otherwise than it was told.

        Nothing is noted: it is how one owner of prompts sees them, whose files they list. One that cannot be described
        is left out, as are those that time did not suffice for.
        """
        until_s, wanted = time.monotonic() + limit_s, dict.fromkeys(names)
        others = [name for name, entry in list(self._entries.items()) if not entry.builtin and name not in self._slow]
        definitions, listings = [], {}
        for name in dict.fromkeys((*wanted, *(others if differing else ()))):
            entry = self._entries.get(name)
            if entry is None or time.monotonic() > until_s:
                continue
            try:
                definition = describe(name, entry.cls, display_name=entry.shown, pack=entry.definition.pack)
                listing = self._listing(replace(entry, definition=definition))
            except Exception:  # a pack's INPUT_TYPES may raise anything
                logger.debug("node %s cannot be listed for an owner", name, exc_info=True)
                continue
            if name in wanted or _fingerprint(definition, listing) != entry.told:
                definitions.append(definition)
                listings[name] = listing
        return definitions, listings

    def _describe(self, name: str) -> tuple[NodeDef, wire.Json | None]:
        with self._lock:
            self.get(name)
            entry = self._entries[name]
            known, began_s = entry.definition, time.monotonic()
            try:
                definition = describe(name, entry.cls, display_name=entry.shown, pack=known.pack)
                listing = self._listing(replace(entry, definition=definition))
            except Exception:  # as above; said once, when it begins
                if entry.told:
                    logger.warning("node %s cannot be listed any more", name, exc_info=True)
                self._put(replace(entry, told=b""))
                return known, None
            finally:
                if time.monotonic() - began_s > SLOW_S:
                    self._slow.add(name)
            self._put(replace(entry, definition=definition, told=_fingerprint(definition, listing)))
            return definition, listing

    def _listing(self, entry: Entry) -> wire.Json:
        listing = wire.template(entry.definition, entry.cls)
        if entry.builtin and entry.definition.contract == "v3" and entry.shown is None:
            listing["display_name"] = None
        return listing

    def _put(self, entry: Entry) -> None:
        with self._lock:
            self._entries[entry.definition.name] = entry
            self._definitions[entry.definition.name] = entry.definition


def _fingerprint(definition: NodeDef, listing: wire.Json) -> bytes:
    return msgspec.json.encode(definition) + json.dumps(listing).encode()
