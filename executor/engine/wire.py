"""One worker's connection at the front: each frame is handed on the moment it comes. Knows no message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from executor.messages import Splitter

log = logging.getLogger("weft.engine")

READ_BYTES = 64 << 10  # at a time: what others wait for meanwhile is what these bytes take to be handled

Take = Callable[["Wire", bytes], None]


class Wire(asyncio.BufferedProtocol):
    """Calls `take` with each frame's body; what it raises (ValueError, msgspec.DecodeError) ends the connection."""

    def __init__(self, take: Take) -> None:
        self.take = take
        self.whose = "a worker"  # for the log
        self.received = 0  # bytes
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None

    def write(self, data: bytes) -> None:
        """Send bytes; dropped when the connection has ended."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """End the connection, once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def feed(self, data: bytes | memoryview) -> None:
        """Hand on the frames that are whole with these bytes."""
        try:
            for body in self._splitter.feed(data):
                self.take(self, body)
        except (ValueError, msgspec.DecodeError):
            log.exception("%s sent a broken message", self.whose)
            if self._transport is not None:
                self._transport.abort()

    # ---------------------------------------------------------------- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection begins."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self.received += nbytes
        self.feed(self._buffer[:nbytes])

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._transport = None
        if not self.ended.done():
            self.ended.set_result(None)
