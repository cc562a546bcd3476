"""What leaves a worker: frames in their order, from any thread, at once while the socket takes them.

What it does not take waits for a thread that does nothing else. Small messages may be held for a while, to leave
together: in memory that the front holds too (executor/outbox.py), so that none is lost with the process.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque

from executor.outbox import Outbox

HOLD_S = 0.005  # how long a frame may wait for others to go with
ALONE_S = 0.0002
MAX_QUEUED = 64 << 20  # bytes waiting for the socket before who sends more has to wait


class Outgoing:
    """The sending half of a socket that blocks; safe to use from any thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._room = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._closed = False
        self._outbox: Outbox | None = None
        self._held = threading.Event()  # something waits in the outbox
        self._held_since_s = 0.0
        self._sender: threading.Thread | None = None

    @property
    def is_closed(self) -> bool:
        """Tell whether what is sent is dropped."""
        return self._closed

    def collect(self, outbox: Outbox) -> None:
        """From now on frames can be held, in this memory; nothing has been sent yet."""
        self._outbox = outbox
        threading.Thread(target=self._let_go, name="weft-outbox", daemon=True).start()

    def send(self, body: bytes, *, waits: bool = True) -> None:
        """Send a frame after what is held; it is dropped once this is closed.

        `waits`: while the socket has too much, the caller does.
        """
        with self._room:
            if waits:
                self._room.wait_for(lambda: self._queued < MAX_QUEUED or self._closed)
            self._write(body)

    def hold(self, body: bytes, *, alone: bool = False) -> None:
        """Send a frame with the next one, or after HOLD_S; its order among others and its safety are those of `send`.

        For small frames that come close together: one call of the system takes them all, and wakes the front once.
        `alone`: the front does nothing else, and hears of what is older than ALONE_S while this process goes on.
        """
        outbox = self._outbox
        if outbox is None:
            self.send(body)
            return
        with self._room:
            is_first = not outbox
            if not outbox.put(body):
                self._write(body)
            elif is_first:
                self._held_since_s = time.monotonic()
                self._held.set()
            elif alone and time.monotonic() - self._held_since_s > ALONE_S:
                self._write(b"")

    def release(self) -> None:
        """Send what is held."""
        if self._outbox is not None:
            with self._room:
                self._write(b"")

    def flush(self, timeout_s: float = 2.0) -> None:
        """Wait until everything sent or held has reached the socket."""
        self.release()
        with self._room:
            self._room.wait_for(lambda: self._queued == 0 or self._closed, timeout_s)

    def close(self) -> None:
        """Drop what comes from now on, and let nobody wait any longer."""
        with self._room:
            self._closed = True
            self._room.notify_all()
        self._held.set()

    def _let_go(self) -> None:
        """Send what was held long enough, also while a node works."""
        while not self._closed:
            self._held.wait()
            self._held.clear()
            while self._outbox and (left_s := self._held_since_s + HOLD_S - time.monotonic()) > 0:
                time.sleep(left_s)
            self.release()

    def _write(self, body: bytes) -> None:
        """Write what is held and these bytes; the caller has the lock."""
        if self._closed:
            return
        outbox = self._outbox
        if outbox is not None and outbox:
            body = outbox.waiting() + body
        if not body:
            return
        rest = self._sent_at_once(body)
        if rest:
            self._queue.append(rest)
            self._queued += len(rest)
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_rest, name="weft-sending", daemon=True)
                self._sender.start()
            self._room.notify_all()
        if outbox is not None:
            outbox.sent(len(body))

    def _sent_at_once(self, body: bytes) -> bytes:
        """Write to the socket from this thread, if nothing waits for it; what is left to send (all: nothing was)."""
        if self._queued or not hasattr(socket, "MSG_DONTWAIT"):
            return body
        try:
            return body[self._sock.send(body, socket.MSG_DONTWAIT) :]
        except OSError:  # it would block, or is gone: the thread finds out
            return body

    def _send_rest(self) -> None:
        """Send what the socket did not take at once, until it is closed."""
        while True:
            with self._room:
                self._room.wait_for(lambda: bool(self._queue) or self._closed)
                if self._closed:
                    return
                body = self._queue[0]
            try:
                self._sock.sendall(body)
            except OSError:
                return  # who hears the socket sees its end as well
            with self._room:
                self._queue.popleft()
                self._queued -= len(body)
                self._room.notify_all()
