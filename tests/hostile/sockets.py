"""Bytes on a raw connection: requests that no HTTP library would send, and websockets that keep to no rule."""

from __future__ import annotations

import contextlib
import socket
import struct
from urllib.parse import urlsplit

PATIENCE_S = 120.0
HANDSHAKE = (
    b"GET /ws?clientId=evil HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


def frame(kind: int, body: bytes = b"", *, final: bool = True) -> bytes:
    """A websocket frame of a client, masked by zeros."""
    size = len(body)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = bytes([0x80 | 126]) + struct.pack(">H", size)
    else:
        length = bytes([0x80 | 127]) + struct.pack(">Q", size)
    return bytes([(0x80 if final else 0) | kind]) + length + b"\0\0\0\0" + body


def send_raw(url: str, data: bytes) -> bytes:
    """What the server answers to bytes until it ends the connection or says nothing more; b"" where it only ends it."""
    address = urlsplit(url)
    with (
        socket.create_connection((address.hostname, address.port), PATIENCE_S) as own,
        contextlib.suppress(ConnectionError),
    ):
        own.sendall(data)
        own.shutdown(socket.SHUT_WR)
        return _read(own)
    return b""


def send_frames(url: str, frames: bytes) -> None:
    """Open a websocket, send frames, and go once the server has read them all or ended the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), PATIENCE_S) as own:
        own.sendall(HANDSHAKE)
        assert b" 101 " in own.recv(4096)
        with contextlib.suppress(ConnectionError):
            own.sendall(frames + frame(CLOSE, struct.pack(">H", 1000)))
            _read(own)


def _read(own: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := own.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)
