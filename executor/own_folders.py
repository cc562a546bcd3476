"""Data folders of one owner, below those of the server: names are as if there were nobody else. Knows no jobs.

The folders are `keys/<owner>` in each data folder. Models are everybody's, but those that lie in a data folder, where
nodes save them: a name there could mean one file for one owner and another for the next.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from executor.fence import Fence
from executor.files import ROOTS, ChangedKind, Folders, KindTable, Root

BELOW = "keys"
NOBODY = "nobody"
"""The folder of no owner: empty, for what is listed once and shown to all."""
_LONGEST_START = 40
_ODD = re.compile(r"[^a-z0-9]+")


def folder_name(owner: str) -> str:
    """A folder's name for an owner: readable, and another one for each owner on every kind of disk."""
    start = _ODD.sub("-", owner.lower())[:_LONGEST_START].strip("-")
    digest = hashlib.sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{start}-{digest}" if start else digest


def place_of(owner: str, subfolder: str = "") -> str:
    """Where a subfolder of an owner's data folder lies in that of the server; nobody's is where it is."""
    return "/".join(filter(None, (BELOW, folder_name(owner), subfolder))) if owner else subfolder


def owner_of(path: str) -> str:
    """The folder's name of the owner in whose part of a data folder a path, told from there, lies; "" for nobody's."""
    parts = path.split("/", 2)
    return parts[1] if len(parts) > 2 and parts[0] == BELOW else ""


class OwnFolders(Folders):
    """The folders of a server as one owner sees them, where its own lie at this moment."""

    def __init__(self, whole: Folders, folder: str) -> None:
        """`folder` is the name that `folder_name` gives an owner, or NOBODY."""
        self._whole, self._place = whole, f"{BELOW}/{folder}"
        self.base, self.models, self.custom_nodes = whole.base, whole.models, whole.custom_nodes
        self.user = whole.user / BELOW / folder
        self._roots: dict[Root, Path] = {root: whole.root(root) / BELOW / folder for root in ROOTS}
        self._listings, self._lock = whole._listings, whole._lock  # listings are of folders, whoever looks
        self._promised, self.claims = whole._promised, whole.claims
        self.fence = Fence(self._reachable, follow=whole.fence.follow, closed=self._others)

    def _others(self) -> Iterator[Path]:
        """The data folders that owners and operators have theirs in."""
        yield from (self._whole.root(root) for root in ROOTS)
        yield self._whole.user

    def create(self) -> None:
        """Make the owner's data folders that are missing."""
        for path in (*self._roots.values(), self.user):
            path.mkdir(parents=True, exist_ok=True)

    def named(self, subfolder: str) -> str:
        """The same place by the owner's names: addresses that are told to everybody name it by the server's."""
        below = subfolder.removeprefix(self._place)
        return below.removeprefix("/") if below[:1] in ("", "/") else subfolder

    def kinds(self) -> list[str]:
        """The kinds of model there are folders for."""
        return self._whole.kinds()

    def adopt(self, table: KindTable) -> None:
        """Read kinds of model from a table that others change while it is in use."""
        self._whole.adopt(table)

    def changed_kinds(self) -> tuple[ChangedKind, ...]:
        """The kinds of an adopted table that the settings do not have so."""
        return self._whole.changed_kinds()

    def learn(self, kinds: Iterable[ChangedKind]) -> None:
        """Take over kinds that another process's `changed_kinds` told."""
        self._whole.learn(kinds)

    def add(self, kind: str, path: Path, *, first: bool = False) -> None:
        """Search one more folder for a kind of model."""
        self._whole.add(kind, path, first=first)

    def _kind(self, kind: str) -> tuple[list[Path], set[str]]:
        paths, suffixes = self._whole._kind(kind)
        data = {self._whole.root(root) for root in ROOTS}
        return [path for path in paths if data.isdisjoint((path, *path.parents))], suffixes
