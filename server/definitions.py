"""Node definitions as a worker told them last: for validation, and rendered for /object_info. Knows no node code.

A snapshot in the user folder bridges the time until the first worker is ready. Rendered answers are kept and made
anew only when the definitions or the files they list have changed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from executor.contract.choices import listed, of_marker
from executor.contract.definition import FileChoices, NodeDef
from executor.errors import NotReady
from executor.files import Folders, Watch
from executor.messages import Device, Ready
from server.users import write_bytes

log = logging.getLogger("weft.front")

SNAPSHOT_NAME = "weft.definitions.msgpack"
_HOLE = re.compile(r'"\\u0000files:(\d+)"')


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept between two runs; another `version` of Weft makes it void."""

    version: str
    ready: Ready


@dataclass(slots=True)
class Text:
    """JSON text with holes for lists of files; `parts` and `holes` take turns."""

    parts: list[bytes]
    holes: list[FileChoices]
    filled: bytes = b""
    watch: Watch | None = None

    def fill(self, folders: Folders) -> bytes:
        """The whole text with the lists as they are now; it is made anew only when a folder has changed."""
        if self.watch is not None and self.watch.is_fresh():
            return self.filled
        unique = dict.fromkeys(self.holes)
        self.watch = folders.watch(hole.source for hole in unique)
        texts = {hole: json.dumps(listed(hole, folders)).encode() for hole in unique}
        pieces = [self.parts[0]]
        for hole, part in zip(self.holes, self.parts[1:], strict=True):
            pieces += (texts[hole], part)
        self.filled = b"".join(pieces)
        return self.filled


@dataclass(frozen=True, slots=True)
class Known:
    """One set of definitions, with the texts that show them."""

    nodes: Mapping[str, NodeDef]
    whole: Text
    entries: Mapping[str, object]  # templates of contract.wire
    texts: dict[str, Text] = field(default_factory=dict)


class Definitions:
    """The node definitions of this server; there are none until a snapshot or a worker gives them."""

    def __init__(self, folders: Folders, *, version: str, wait_s: float) -> None:
        self._folders = folders
        self._version = version
        self._wait_s = wait_s
        self._path = folders.user / SNAPSHOT_NAME
        self._known: Known | None = None
        self._arrived = asyncio.Event()
        self._saved = b""
        self._saving: set[asyncio.Task[None]] = set()
        self.devices: tuple[Device, ...] = ()
        self.torch_version: str | None = None

    # ---------------------------------------------------------------- where they come from

    def load(self) -> None:
        """Take the snapshot of the last run, if there is one of this version."""
        try:
            body = self._path.read_bytes()
            snapshot = msgspec.msgpack.decode(body, type=Snapshot)
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("the saved node definitions cannot be read and are left aside: %s", error)
            return
        if snapshot.version == self._version:
            self._saved = body
            self._take(snapshot.ready)

    def update(self, ready: Ready) -> None:
        """Take what a worker told, and save it in the background if it is new."""
        body = msgspec.msgpack.encode(Snapshot(version=self._version, ready=ready))
        if body == self._saved and self._known is not None:
            return
        self._take(ready)
        self._saved = body
        task = asyncio.create_task(self._save(body), name="save definitions")
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def close(self) -> None:
        """Wait until the snapshot is written."""
        await asyncio.gather(*self._saving)

    def _take(self, ready: Ready) -> None:
        entries: dict[str, object] = json.loads(ready.wire_json)
        self._known = Known(
            nodes={definition.name: definition for definition in ready.definitions},
            whole=text_with_holes(entries),
            entries=entries,
        )
        self.devices, self.torch_version = ready.devices, ready.torch_version
        self._arrived.set()

    async def _save(self, body: bytes) -> None:
        try:
            await asyncio.to_thread(write_bytes, self._path, body)
        except OSError as error:
            log.warning("the node definitions could not be saved: %s", error)

    # ---------------------------------------------------------------- what they say

    async def nodes(self) -> Mapping[str, NodeDef]:
        """Every node class by name; waits a bounded time for the first worker, then raises NotReady."""
        return (await self._ready()).nodes

    async def object_info(self) -> bytes:
        """The body of GET /object_info; NotReady as with `nodes`."""
        return (await self._ready()).whole.fill(self._folders)

    async def object_info_of(self, name: str) -> bytes:
        """The body of GET /object_info/{name}: an empty object for an unknown class. NotReady as with `nodes`."""
        known = await self._ready()
        if name not in known.entries:
            return b"{}"
        if name not in known.texts:
            known.texts[name] = text_with_holes({name: known.entries[name]})
        return known.texts[name].fill(self._folders)

    async def _ready(self) -> Known:
        if self._known is None:
            try:
                await asyncio.wait_for(self._arrived.wait(), self._wait_s)
            except TimeoutError:
                raise NotReady("the worker that knows the nodes is still starting") from None
        if self._known is None:
            raise NotReady("the worker that knows the nodes is still starting")
        return self._known


def text_with_holes(value: object) -> Text:
    """JSON data as text, each marker of a list of files a hole."""
    holes: list[FileChoices] = []
    text = json.dumps(_marked(value, holes))
    parts = _HOLE.split(text)
    return Text([part.encode() for part in parts[::2]], [holes[int(index)] for index in parts[1::2]])


def _marked(value: object, holes: list[FileChoices]) -> object:
    if isinstance(value, dict):
        files = of_marker(value)
        if files is not None:
            holes.append(files)
            return f"\0files:{len(holes) - 1}"
        return {key: _marked(item, holes) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item, holes) for item in value]
    return value
