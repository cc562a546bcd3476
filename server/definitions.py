"""Node definitions as a worker told them last: for validation, and rendered for /object_info. Knows no node code.

A snapshot in the user folder bridges the time until the first worker is ready. Rendered answers are kept and made
anew only where the definitions or the files they list have changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from executor.contract.definition import NodeDef
from executor.errors import NotReady
from executor.files import Folders
from executor.messages import Device, Ready
from server.listing import Text, joined, member, split, together
from server.packs import PackHost, any_of_packs, at_rest
from server.users import write_bytes

log = logging.getLogger("weft.front")

SNAPSHOT_NAME = "weft.definitions.msgpack"


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept between two runs; another `version` of Weft or other packs (by their mark) make it void."""

    version: str
    packs_mark: str
    ready: Ready


@dataclass(slots=True)
class Known:
    """One set of definitions, with the texts that show them, each `"name": entry`."""

    nodes: Mapping[str, NodeDef]
    entries: Mapping[str, bytes]  # JSON text of templates of contract.wire
    members: Mapping[str, Text]
    whole: Text | None = None  # made at the first look


class Definitions:
    """The node definitions of this server; there are none until a snapshot or a worker gives them."""

    def __init__(
        self, folders: Folders, packs: PackHost, *, packs_mark: Callable[[], str], version: str, wait_s: float
    ) -> None:
        self._folders = folders
        self._packs = packs
        self._packs_mark = packs_mark  # reads the disk
        self._version = version
        self._wait_s = wait_s
        self._path = folders.user / SNAPSHOT_NAME
        self._known: Known | None = None
        self._seen: dict[str, dict[str, Text]] = {}  # owner -> class -> listing, of those that list the owner's files
        self._arrived = asyncio.Event()
        self._saved: Ready | None = None
        self._saving: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()  # of those who save
        self._is_stale = False  # the snapshot lacks what came since
        self.has_packs = False
        self.devices: tuple[Device, ...] = ()
        self.torch_version: str | None = None

    # ---------------------------------------------------------------- where they come from

    def load(self) -> None:
        """Take the snapshot of the last run, if there is one of this version."""
        try:
            snapshot = msgspec.msgpack.decode(self._path.read_bytes(), type=Snapshot)
            is_good = (snapshot.version, snapshot.packs_mark) == (self._version, self._packs_mark())
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("the saved node definitions cannot be read and are left aside: %s", error)
            return
        if is_good:
            self._saved = snapshot.ready
            self._take(snapshot.ready)
            self._packs.remember(snapshot.ready.packs)
            self._folders.learn(snapshot.ready.packs.folders)

    def update(self, ready: Ready) -> None:
        """Take what a worker told, and save it in the background if it is new."""
        ready = msgspec.structs.replace(ready, packs=at_rest(ready.packs))
        old = self._saved
        if old is not None and not self._is_stale and ready.packs == old.packs and ready == old:
            return
        self._take(ready)
        self._save_later(ready)

    def merge(self, definitions: Mapping[str, NodeDef], entries: Mapping[str, bytes], owner: str | None = None) -> None:
        """Take classes as they are listed now, each entry JSON text; one without an entry goes off the list.

        With an owner they are listed so for that one alone.
        """
        known = self._known
        if known is None:
            return
        if owner is not None:
            members = {name: member(name, entry) for name, entry in entries.items() if name in definitions}
            self._seen.setdefault(owner, {}).update(members)
            return
        kept = {name: entry for name, entry in known.entries.items() if name not in definitions or name in entries}
        changed = {name: entries[name] for name in definitions if name in entries}
        members = {name: known.members[name] for name in kept} | {name: member(name, changed[name]) for name in changed}
        self._known = Known(nodes={**known.nodes, **definitions}, entries={**kept, **changed}, members=members)
        self._is_stale = True

    def seen(self, owner: str) -> Iterable[str] | None:
        """The classes that are listed in another way for an owner; None if that was never asked."""
        return self._seen.get(owner)

    async def close(self) -> None:
        """Wait until the snapshot is written."""
        if self._is_stale and self._known is not None:
            ready = Ready(
                definitions=tuple(self._known.nodes.values()),
                wire_json=together(self._known.entries),
                devices=self.devices,
                torch_version=self.torch_version or "",
                packs=at_rest(self._packs.told),
            )
            self._save_later(ready)
        await asyncio.gather(*self._saving)

    def _take(self, ready: Ready) -> None:
        entries = split(ready.wire_json)
        self._known = Known(
            nodes={definition.name: definition for definition in ready.definitions},
            entries=entries,
            members={name: member(name, entry) for name, entry in entries.items()},
        )
        self._seen = {}
        self.has_packs = any_of_packs(ready.definitions, ready.packs.report_json)
        self.devices, self.torch_version = ready.devices, ready.torch_version
        self._arrived.set()

    def _save_later(self, ready: Ready) -> None:
        self._saved, self._is_stale = ready, False
        task = asyncio.create_task(self._save(ready), name="save definitions")
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def _save(self, ready: Ready) -> None:
        async with self._turn:
            try:
                await asyncio.to_thread(self._write, ready)
            except OSError as error:
                log.warning("the node definitions could not be saved: %s", error)

    def _write(self, ready: Ready) -> None:
        snapshot = Snapshot(version=self._version, packs_mark=self._packs_mark(), ready=ready)
        write_bytes(self._path, msgspec.msgpack.encode(snapshot))

    # ---------------------------------------------------------------- what they say

    async def nodes(self) -> Mapping[str, NodeDef]:
        """Every node class by name; waits a bounded time for the first worker, then raises NotReady."""
        return (await self._ready()).nodes

    def known(self) -> Mapping[str, NodeDef]:
        """Every node class that is known at this moment, perhaps none."""
        return self._known.nodes if self._known is not None else {}

    async def object_info(self, folders: Folders | None = None, owner: str = "") -> bytes:
        """The body of GET /object_info, with the files of these folders (the server's); NotReady as with `nodes`.

        What an owner sees otherwise is listed so.
        """
        known = await self._ready()
        if self._seen.get(owner):
            members = {**known.members, **self._seen[owner]}
            return joined(members.values()).shown(folders or self._folders)
        if known.whole is None:
            known.whole = joined(known.members.values())
        return self._filled(known.whole, folders)

    async def object_info_of(self, name: str, folders: Folders | None = None, owner: str = "") -> bytes:
        """The body of GET /object_info/{name}: an empty object for an unknown class. NotReady as with `nodes`."""
        known = await self._ready()
        text = self._seen.get(owner, {}).get(name) or known.members.get(name)
        return b"{}" if text is None else b"{" + self._filled(text, folders) + b"}"

    def _filled(self, text: Text, folders: Folders | None) -> bytes:
        """A text with its lists of files; only what the server's own folders make of it is kept."""
        return text.fill(self._folders) if folders is None or folders is self._folders else text.shown(folders)

    async def _ready(self) -> Known:
        if self._known is None:
            try:
                await asyncio.wait_for(self._arrived.wait(), self._wait_s)
            except TimeoutError:
                raise NotReady("the worker that knows the nodes is still starting") from None
        if self._known is None:
            raise NotReady("the worker that knows the nodes is still starting")
        return self._known
