"""Websocket clients and what waits to be sent to each. Knows no routes and no queue of prompts.

Every client has its own bounded queue and its own sender, so a slow one delays nobody. Once a client lags, a newer
progress or preview frame takes the place of the last one of its kind and prompt; every other frame is kept. A client
that lags beyond the hard limit is closed. Putting and replacing cost the same however much waits.

Where keys separate, a client has an owner ("": it sees everybody's) and so has an event ("": it belongs to nobody's
prompt). A client hears what is its owner's; one that sees everybody's hears what is told to all, of whosever prompt.
Session ids are each owner's own: a client that takes another's id hears nothing by it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from aiohttp import ClientConnectionError, WSCloseCode, web

from executor.messages import Blob
from executor.queue.progress import told_node
from server import frames
from server.eventlog import TERMINAL, Event, EventLog

log = logging.getLogger("weft.front")

Audience = Literal["owner", "owner_or_all", "all"]

LAGGING_FRAMES = 256
LAGGING_BYTES = 4 << 20
MOST_FRAMES = 20_000
MOST_BYTES = 64 << 20
BATCH_BYTES = 64 << 10
GATHER_S = 0.002  # how long a frame waits for others to go with, but for the last words about a prompt
CLOSING_TIME_S = 2.0
CROWD = 32
"""With more clients than this, those that own no prompt hear the queue's length at most once in STATUS_PAUSE_S."""
STATUS_PAUSE_S = 0.2
REPLACEABLE = frozenset({"progress", "progress_state"})
Changes = dict[str, dict[str, object] | None]
"""Session id → feature flags of a client that is there; None: it is gone."""


Name = tuple[str, str]
"""Owner and session id of a client."""
Write = Callable[[bytes], Awaitable[None]]
"""Takes bytes of whole frames; waits while the socket has too much, ConnectionError when it is gone."""


def _nobody_asks(changes: Changes) -> None:
    """Tell nobody."""


class Frame(msgspec.Struct, frozen=True):
    """One message on its way; `kind` names what a newer frame may take the place of (None: nothing).

    `number` is that of its event, 0 where it is none.
    """

    payload: str | bytes
    kind: str | None = None
    number: int = 0


@dataclass(slots=True, eq=False)
class Client:
    """One websocket with what waits for it."""

    sid: str
    socket: web.WebSocketResponse
    abort: Callable[[], None]  # cuts the connection without a handshake
    write: Write
    flags: Mapping[str, object] = field(default_factory=dict)
    waiting: OrderedDict[int, Frame] = field(default_factory=OrderedDict)  # by number, in the order of sending
    waiting_bytes: int = 0
    newest: dict[str, int] = field(default_factory=dict)  # kind -> number of the last frame of it
    number: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    soon: asyncio.TimerHandle | None = None  # what will wake the sender
    overrun: bool = False
    owns: bool = False  # it has had a prompt
    missed: Frame | None = None  # the newest status, held back
    numbered: bool = False  # it asked for numbers: no event of its is dropped, it is closed instead
    owner: str = ""

    @property
    def name(self) -> Name:
        """By which the hub knows it."""
        return self.owner, self.sid

    def put(self, frame: Frame) -> None:
        """Queue a frame; never blocks."""
        if self.overrun:
            return
        self.number += 1
        if frame.kind is not None and not self.numbered:
            if self._lags():
                self._forget(frame.kind)
            self.newest[frame.kind] = self.number
        self.waiting[self.number] = frame
        self.waiting_bytes += len(frame.payload)
        if len(self.waiting) > MOST_FRAMES or self.waiting_bytes > MOST_BYTES:
            self._give_up()
        if self.soon is None and not self.wake.is_set():
            self.soon = asyncio.get_running_loop().call_later(GATHER_S, self.hurry)

    def hurry(self) -> None:
        """Send what waits now."""
        if self.soon is not None:
            self.soon.cancel()
            self.soon = None
        self.wake.set()

    def catch_up(self) -> bool:
        """Queue the status that was held back; tells whether there was one."""
        missed, self.missed = self.missed, None
        if missed is not None:
            self.put(missed)
        return missed is not None

    def _give_up(self) -> None:
        log.warning("client %s reads too slowly: closed with %d frames waiting", self.sid, len(self.waiting))
        self.overrun = True
        self.waiting.clear()
        self.newest.clear()
        self.waiting_bytes = 0
        self.abort()

    def _lags(self) -> bool:
        return len(self.waiting) >= LAGGING_FRAMES or self.waiting_bytes >= LAGGING_BYTES

    def _forget(self, kind: str) -> None:
        """Drop the last frame of a kind, if it still waits."""
        old = self.waiting.pop(self.newest.get(kind, 0), None)
        if old is not None:
            self.waiting_bytes -= len(old.payload)

    def _next(self) -> Frame:
        number, frame = self.waiting.popitem(last=False)
        self.waiting_bytes -= len(frame.payload)
        if frame.kind is not None and self.newest.get(frame.kind) == number:
            del self.newest[frame.kind]
        return frame

    async def send_forever(self) -> None:
        """Send what waits, until the socket fails."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                await self.write(self._batch())

    def _batch(self) -> bytes:
        """What waits, as far as one write should go: each costs a call of the system, and wakes the client."""
        if self.waiting_bytes < BATCH_BYTES:
            parts = [self._wire(frame) for frame in self.waiting.values()]
            self.waiting.clear()
            self.newest.clear()
            self.waiting_bytes = 0
            return b"".join(parts)
        parts, size = [], 0
        while self.waiting and size < BATCH_BYTES:
            parts.append(self._wire(self._next()))
            size += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wire(self, frame: Frame) -> bytes:
        payload = frame.payload
        if self.numbered and frame.number and isinstance(payload, str):
            payload = frames.numbered(payload, frame.number)
        return frames.on_the_wire(payload)


class Hub:
    """All websocket clients of a front, by session id; `separate`: each owner's for themselves."""

    def __init__(self, *, separate: bool = False) -> None:
        self.log = EventLog()
        self._separate = separate
        self._clients: dict[Name, Client] = {}
        self._at_work: dict[Name, str] = {}  # client -> node its prompt is at
        self._log_readers: set[Name] = set()
        self._open: set[Client] = set()
        self._turn: asyncio.TimerHandle | None = None  # when those in a crowd hear the queue's length again
        self.on_change: Callable[[Changes], None] = _nobody_asks  # who wants to know who is connected

    # ---------------------------------------------------------------- clients

    async def attend(self, client: Client, greeting: Iterable[Frame], read: Callable[[], Awaitable[None]]) -> None:
        """Serve one connection until it closes; `read` is the coroutine function that reads its messages."""
        self._clients[client.name] = client
        self._open.add(client)
        self.on_change({client.sid: dict(client.flags)})
        for frame in greeting:
            client.put(frame)
        node = self._at_work.get(client.name)
        if node is not None:
            client.put(Frame(frames.text_frame("executing", {"node": node})))
        sender = asyncio.create_task(self._send(client), name=f"send to {client.sid}")
        try:
            await read()
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            self._leave(client)

    def _leave(self, client: Client) -> None:
        self._open.discard(client)
        if self._clients.get(client.name) is client:
            del self._clients[client.name]
            self._log_readers.discard(client.name)
            if not (self._separate and any(other.sid == client.sid for other in self._clients.values())):
                self.on_change({client.sid: None})

    def take_flags(self, client: Client, flags: Mapping[str, object]) -> None:
        """Note what a client says it can do."""
        client.flags = flags
        if self._clients.get(client.name) is client:
            self.on_change({client.sid: dict(flags)})

    def connected(self) -> Changes:
        """Every client's feature flags, by session id."""
        return {client.sid: dict(client.flags) for client in self._clients.values()}

    async def _send(self, client: Client) -> None:
        with suppress(ClientConnectionError, ConnectionError, RuntimeError):  # the socket is gone: its reader ends too
            await client.send_forever()

    def count(self) -> int:
        """How many connections are open."""
        return len(self._open)

    async def close(self) -> None:
        """Close every connection."""
        self.log.close()
        if self._turn is not None:
            self._turn.cancel()
        clients = tuple(self._open)
        closing = asyncio.gather(*(client.socket.close(code=WSCloseCode.GOING_AWAY) for client in clients))
        with suppress(TimeoutError, ClientConnectionError, ConnectionError, RuntimeError):
            await asyncio.wait_for(closing, timeout=CLOSING_TIME_S)
        for client in clients:
            client.abort()

    # ---------------------------------------------------------------- events

    def publish(
        self,
        event: str,
        data: object,
        *,
        audience: Audience,
        client_id: str | None = None,
        job_id: str | None = None,
        owner: str = "",
    ) -> None:
        """Send an event; `data` is a value for json.dumps, or JSON text as bytes."""
        owner = owner if self._separate else ""
        receivers = self._receivers(audience, client_id, owner)
        if event == "executing" and client_id is not None:
            self._note_work((owner, client_id), data)
        told = self.log.add(event, data, audience=audience, client_id=client_id, job_id=job_id, owner=owner)
        if not receivers:
            return
        text = frames.text_frame_of_json(event, told.data_json)
        frame = Frame(text, f"{event} {job_id}" if event in REPLACEABLE else None, told.number)
        if event == "status":
            its_own = (client for client in receivers if client.owner == owner)
            self._publish_status(frame, its_own if self._separate else receivers)
            return
        for client in receivers:
            client.put(frame)
            if event in TERMINAL:
                client.hurry()  # with what is told in the same breath

    def hurry(self, client_id: str | None, owner: str = "") -> None:
        """Send a client what waits for it now."""
        client = self._clients.get((owner if self._separate else "", client_id)) if client_id is not None else None
        if client is not None and client.waiting:
            client.hurry()

    def _publish_status(self, frame: Frame, receivers: Iterable[Client]) -> None:
        """Tell the queue's length: in a crowd, those without a prompt only the newest, a few times a second.

        Else every prompt would cost three frames per listener.
        """
        crowded = len(self._clients) > CROWD
        for client in receivers:
            client.missed = frame
            if client.owns or client.numbered or not crowded:
                client.catch_up()
        if crowded and self._turn is None:
            self._tell_bystanders()

    def _tell_bystanders(self) -> None:
        told = [client.catch_up() for client in self._clients.values()]
        again = asyncio.get_running_loop().call_later(STATUS_PAUSE_S, self._tell_bystanders) if any(told) else None
        self._turn = again

    def publish_blob(self, blob: Blob) -> None:
        """Send a binary event: a text to everybody; a preview, or what a pack sends, to its owner or, without, to all.

        The step that a preview belongs to goes with it: after a picture with metadata, before a plain one, as
        ComfyUI's clients know it.
        """
        owner = blob.owner if self._separate else ""
        if blob.kind == "text":
            frame = Frame(frames.progress_text_frame(blob))
            for client in self._receivers("all", None, owner):
                client.put(frame)
            return
        if blob.kind == "raw":
            frame = Frame(frames.raw_frame(blob), f"raw {blob.event}" if blob.event in frames.PREVIEWS else None)
            for client in self._receivers("owner_or_all", blob.client_id, owner):
                client.put(frame)
            return
        is_result = blob.image_type == "image/png"  # sent whole by SaveImageWebsocket: never dropped
        kind = None if is_result else f"preview {blob.job_id}"
        told = frames.text_frame_of_json("progress", blob.step_json) if blob.step_json else None
        step = Frame(told, f"progress {blob.job_id}") if told is not None else None
        for client in self._receivers("owner_or_all", blob.client_id, owner):
            rich = blob.client_id is not None and client.flags.get("supports_preview_metadata") is True
            if rich:
                client.put(Frame(frames.preview_with_metadata_frame(blob), kind))
            if step is not None:
                client.put(step)
            if not rich:
                client.put(Frame(frames.preview_frame(blob), kind))

    def _receivers(self, audience: Audience, client_id: str | None, owner: str) -> tuple[Client, ...]:
        if audience == "all" or (audience == "owner_or_all" and client_id is None):
            clients = tuple(self._clients.values())
            return tuple(each for each in clients if each.owner in (owner, "")) if self._separate else clients
        client = self._clients.get((owner, client_id)) if client_id is not None else None
        if client is None:
            return ()
        client.owns = True
        client.catch_up()
        return (client,)

    def _note_work(self, client: Name, data: object | bytes) -> None:
        if isinstance(data, bytes):
            node: object = told_node(data)
        else:
            node = data.get("node") if isinstance(data, dict) else None
        if isinstance(node, str):
            self._at_work[client] = node
        else:
            self._at_work.pop(client, None)

    def greeting_of(self, events: Iterable[Event]) -> list[Frame]:
        """Frames of events that a client missed."""
        return [Frame(frames.text_frame_of_json(event.name, event.data_json), number=event.number) for event in events]

    # ---------------------------------------------------------------- log

    def read_log(self, sid: str, *, enabled: bool) -> None:
        """Start or stop sending log entries to a client that sees everybody's."""
        if enabled and ("", sid) in self._clients:
            self._log_readers.add(("", sid))
        else:
            self._log_readers.discard(("", sid))

    def is_log_read(self) -> bool:
        """Tell, on any thread, whether somebody asked for log entries."""
        return bool(self._log_readers)

    def publish_log(self, data: object) -> None:
        """Send log entries to those who asked for them."""
        if not self._log_readers:
            return
        frame = Frame(frames.text_frame("logs", data))
        for name in self._log_readers:
            self._clients[name].put(frame)
