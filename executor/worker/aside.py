"""A second connection to the front, for questions whose answers an event loop of the worker itself waits for.

What comes in over the first one is heard by the control thread, which cannot wait and hear at once; and what a route
of a pack asked there before may wait for a hook, which runs where that route waits.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

from executor.errors import BadInput, NotReady
from executor.messages import HEADER, Hello, Reply, Request, Wish, decode_to_worker, frame

Address = str | tuple[str, int]


class Aside:
    """Asks the front and waits for its answer, one question at a time; the connection opens with the first one."""

    def __init__(self, address: Address, token: str, next_number: Callable[[], int], patience_s: float) -> None:
        """`address` is that of the front's own socket: a path, or host and port."""
        self._address, self._token, self._next_number = address, token, next_number
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def ask(self, wish: Wish, body_json: bytes) -> bytes:
        """The front's JSON answer; BadInput when it refuses, NotReady when it is gone, TimeoutError when it is slow."""
        with self._lock:
            try:
                return self._asked(Request(id=self._next_number(), wish=wish, body_json=body_json, aside=True))
            except (OSError, EOFError) as failure:
                self._close()  # an answer that comes late must not be taken for the next one
                if isinstance(failure, TimeoutError):
                    raise
                raise NotReady("the server is gone") from failure

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._close()

    def _asked(self, request: Request) -> bytes:
        line = self._socket = self._socket or self._connected()
        line.sendall(frame(request))
        while True:
            reply = decode_to_worker(_read(line, HEADER.unpack(_read(line, HEADER.size))[0]))
            if not isinstance(reply, Reply) or reply.id != request.id:
                continue
            if reply.error is not None:
                raise BadInput(reply.error)
            return reply.value_json

    def _connected(self) -> socket.socket:
        kind = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
        line = socket.socket(kind, socket.SOCK_STREAM)
        line.settimeout(self._patience_s)
        try:
            line.connect(self._address)
            line.sendall(frame(Hello(token=self._token, pid=os.getpid(), aside=True)))
        except OSError:
            line.close()
            raise
        return line

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _read(line: socket.socket, size: int) -> bytes:
    """Exactly so many bytes; EOFError at the end of the stream."""
    parts = bytearray()
    while len(parts) < size:
        part = line.recv(size - len(parts))
        if not part:
            raise EOFError("the connection ended")
        parts += part
    return bytes(parts)
