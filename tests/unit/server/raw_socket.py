"""A websocket client that owns its socket: it reads when and as much as a test says, and can vanish without a word."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct

LEAST_BUFFER_BYTES = 4096


class RawSocket:
    """A connection to /ws, opened by `connect`; its receive buffer is as small as the system allows."""

    def __init__(self, own: socket.socket) -> None:
        self.own = own
        self._kept = b""

    @classmethod
    async def connect(cls, port: int, client_id: str) -> RawSocket:
        """Open a websocket on this machine and read the answer to the handshake."""
        own = socket.socket()
        own.setblocking(False)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LEAST_BUFFER_BYTES)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", port))
        made = cls(own)
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET /ws?clientId={client_id} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        await made.send(f"{head}Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n")
        while b"\r\n\r\n" not in made._kept:
            made._kept += await made.read(1024)
        answer, _, made._kept = made._kept.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101")
        return made

    async def send(self, text: str) -> None:
        """Send bytes as they are."""
        await asyncio.get_running_loop().sock_sendall(self.own, text.encode())

    async def read(self, most: int) -> bytes:
        """At most so many bytes; ConnectionError at the end of the connection."""
        async with asyncio.timeout(60):
            got = await asyncio.get_running_loop().sock_recv(self.own, most)
        if not got:
            raise ConnectionResetError
        return got

    async def frame(self) -> dict | bytes:
        """The next frame: the JSON of a text, the bytes of a binary one."""
        head = await self._take(2)
        length = head[1]
        if length == 126:
            (length,) = struct.unpack(">H", await self._take(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", await self._take(8))
        body = await self._take(length)
        return json.loads(body) if head[0] & 0x0F == 1 else body

    async def _take(self, count: int) -> bytes:
        while len(self._kept) < count:
            self._kept += await self.read(1 << 16)
        taken, self._kept = self._kept[:count], self._kept[count:]
        return taken

    async def read_to_the_end(self) -> None:
        """Read until the server ends the connection."""
        try:
            while True:
                await self.read(1 << 16)
        except ConnectionError:
            return

    def vanish(self) -> None:
        """Reset the connection."""
        self.own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.own.close()

    def close(self) -> None:
        """Give the socket back."""
        self.own.close()
