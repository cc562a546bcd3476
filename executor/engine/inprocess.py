"""A worker as threads of the front's own process, over the same channel: for debugging and tests.

A node that crashes takes the server with it, and a forced interrupt can only ask.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from executor.engine.base import Hear
from executor.engine.channel import BACKOFF_S, ChannelEngine, Slot, send
from executor.engine.wire import Wire
from executor.messages import Boot, Stop
from executor.settings import Settings

SERVE = "executor.worker.main:serve"
GRACE_S = 10.0


class InProcessEngine(ChannelEngine):
    """One worker on threads of this process."""

    def __init__(
        self, settings: Settings, *, loader: str = "nodes:load", backoff_s: Sequence[float] = BACKOFF_S
    ) -> None:
        super().__init__(settings, loader=loader, backoff_s=backoff_s)
        self._slots = {"worker-0": self._slots["worker-0"]}

    async def start(self, hear: Hear) -> None:
        """Start the worker's threads."""
        self._start_keepers(hear)

    async def stop(self) -> None:
        """Let the running node come to its next checkpoint, then end the threads."""
        self._stopping = True
        for slot in self._slots.values():
            if slot.state == "busy":
                self._kill(slot)
            else:
                send(slot, Stop())
        await self._stop_keepers(GRACE_S)

    def _kill(self, slot: Slot) -> bool:
        """Close the channel, which interrupts the running prompt."""
        if slot.wire is None:
            return False
        slot.wire.close()
        return True

    async def _live(self, slot: Slot) -> str:
        """One worker from its start to its end."""
        ours, theirs = socket.socketpair()
        boot = Boot(worker=slot.id, token=secrets.token_hex(32), front_pid=os.getpid(), settings=self._settings)
        outcome: Future[int] = Future()
        threading.Thread(target=_serve, args=(theirs, boot, self._loader, outcome), name=slot.id, daemon=True).start()
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(lambda: Wire(lambda wire, body: self._take(slot, body)), sock=ours)
        try:
            await self._listen(slot, wire)
        finally:
            wire.close()
        try:
            code = await asyncio.wrap_future(outcome)
            return f"it returned {code}"
        except Exception as error:  # noqa: BLE001  # the worker's border: the loader of a pack may raise anything
            return f"{type(error).__name__}: {error}"


def _serve(sock: socket.socket, boot: Boot, loader: str, outcome: Future[int]) -> None:
    """Run the worker, which is named as text only: the front must not import torch before it is wanted."""
    module, _, name = SERVE.partition(":")
    try:
        outcome.set_result(getattr(importlib.import_module(module), name)(sock, boot, loader, in_process=True))
    except BaseException as error:  # noqa: BLE001  # handed to the engine, which tells why the worker ended
        outcome.set_exception(error)
        sock.close()
