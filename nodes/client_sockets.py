"""The server's websocket clients as packs know them: who is connected, and a way to send to one. Knows no queue."""

from __future__ import annotations

import json
from collections.abc import Callable

from executor.messages import Clients

TYPE_BYTES = 4  # of a binary frame: its event's number, big-endian

Send = Callable[[str | int, object, str], None]
"""Sends an event (by name, or by number with bytes) to the client of a session id."""


class ClientSocket:
    """One client; what is sent goes through the front, which has the real socket."""

    closed = False

    def __init__(self, sid: str, send: Send) -> None:
        self.sid = sid
        self._send = send

    async def send_json(self, data: dict[str, object], *how: object, **more: object) -> None:
        """Send an event, {"type", "data"}."""
        self._send(str(data["type"]), data.get("data"), self.sid)

    async def send_str(self, data: str, *how: object, **more: object) -> None:
        """Send an event as JSON text."""
        await self.send_json(json.loads(data))

    async def send_bytes(self, data: bytes, *how: object, **more: object) -> None:
        """Send a binary frame: the number of its event in four bytes, then its body."""
        self._send(int.from_bytes(data[:TYPE_BYTES], "big"), bytes(data[TYPE_BYTES:]), self.sid)


class ClientSockets:
    """Keeps `sockets` (session id → socket) and `metadata` (session id → {"feature_flags"}) as the front tells them."""

    def __init__(self, send: Send) -> None:
        self.sockets: dict[str, ClientSocket] = {}
        self.metadata: dict[str, dict[str, object]] = {}
        self._send = send

    def take(self, news: Clients) -> None:
        """Clients came or went."""
        if news.whole:
            for sid in set(self.sockets) - set(news.changes):
                self._drop(sid)
        for sid, flags in news.changes.items():
            if flags is None:
                self._drop(sid)
                continue
            self.sockets.setdefault(sid, ClientSocket(sid, self._send))
            self.metadata[sid] = {"feature_flags": flags}

    def _drop(self, sid: str) -> None:
        socket = self.sockets.pop(sid, None)
        self.metadata.pop(sid, None)
        if socket is not None:
            socket.closed = True
