"""Workers as processes: started, proven by a token, watched, started anew after a pause.

A worker is `python -m executor.worker ADDRESS LOADER`. It reads its Boot (settings, token) from standard input and
connects to a Unix socket in a folder that only this user can enter (Windows: a loopback port).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from executor.engine.base import Hear
from executor.engine.channel import BACKOFF_S, ChannelEngine, Slot, send
from executor.engine.wire import Wire
from executor.messages import Boot, Hello, Stop, decode_from_worker, encode_boot
from executor.oom_killer import kills
from executor.outbox import Outbox, shared_memory
from executor.settings import Settings

log = logging.getLogger("weft.engine")

HELLO_S = 60.0  # a process that has not connected by then is given up
GRACE_S = 5.0  # between asking a process to end and killing it
EXIT_S = 1.0  # between the end of its channel and killing it
FOLDER_PREFIX, SOCKET_NAME = "weft-run-", "front.sock"
TOKEN_VARIABLE = "WEFT_AUTH_TOKEN"  # the front's alone: packs need no keys
ROOT = Path(__file__).resolve().parents[2]


class ProcessEngine(ChannelEngine):
    """`settings.workers` processes, each with a device of its own."""

    def __init__(
        self,
        settings: Settings,
        *,
        loader: str = "nodes:load",
        backoff_s: Sequence[float] = BACKOFF_S,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(settings, loader=loader, backoff_s=backoff_s)
        self._environment = dict(environment or {})
        self._awaited: dict[str, tuple[Slot, asyncio.Future[Wire]]] = {}  # by token
        self._callers: dict[Wire, asyncio.TimerHandle] = {}  # who has not said yet which worker it is
        self._folder: Path | None = None
        self._server: asyncio.Server | None = None
        self._address = ""

    async def start(self, hear: Hear) -> None:
        """Listen for workers and start them."""
        loop = asyncio.get_running_loop()
        if hasattr(socket, "AF_UNIX"):
            self._folder = await asyncio.to_thread(_run_folder)
            path = self._folder / SOCKET_NAME
            self._server = await loop.create_unix_server(self._accept, path)
            self._address = f"unix:{path}"
        else:
            self._server = await loop.create_server(self._accept, "127.0.0.1", 0)
            self._address = f"tcp:127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._start_keepers(hear)

    async def stop(self) -> None:
        """End the processes: idle ones by asking, busy ones at once, any of them by force after a grace."""
        self._stopping = True
        for slot in self._slots.values():
            if slot.state == "busy" or slot.wire is None:
                self._kill(slot)
            else:
                send(slot, Stop())
        await self._stop_keepers(GRACE_S)
        for caller in list(self._callers):
            self._turn_away(caller)
        if self._server is not None:
            self._server.close()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _kill(self, slot: Slot) -> bool:
        if slot.process is None or slot.process.returncode is not None:
            return False
        slot.process.kill()
        return True

    async def _live(self, slot: Slot) -> str:
        """One process from its start to its end; returns why it ended."""
        token = secrets.token_hex(32)
        connected: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
        self._awaited[token] = slot, connected
        ended: asyncio.Task[int] | None = None
        overheard: list[asyncio.Task[None]] = []
        memory = shared_memory()
        outbox = Outbox.on(memory) if memory is not None else None
        killed_before = kills()
        try:
            try:
                slot.process = await self._spawn(slot, token, memory)
            finally:
                if memory is not None:
                    os.close(memory)
            overheard += self._hear_output(slot, slot.process)
            ended = asyncio.create_task(slot.process.wait())
            events: set[asyncio.Future[Wire] | asyncio.Future[int]] = {connected, ended}
            await asyncio.wait(events, timeout=HELLO_S, return_when=asyncio.FIRST_COMPLETED)
            if connected.done():
                await self._listen(slot, connected.result(), outbox)
            elif not ended.done():
                log.error("worker %s did not connect within %g s", slot.id, HELLO_S)
            await asyncio.wait({ended}, timeout=EXIT_S)
            self._kill(slot)
            return _describe(await ended, memory_ran_out=kills() != killed_before)
        except OSError as error:
            return f"it could not be started: {error}"
        finally:
            self._awaited.pop(token, None)
            self._kill(slot)
            if outbox is not None:
                outbox.close()
            if slot.wire is not None:
                slot.wire.close()
            if ended is not None and not ended.done():
                await asyncio.wait({ended}, timeout=EXIT_S)
            if overheard:
                await asyncio.wait(overheard, timeout=EXIT_S)  # a program that a node left behind may hold the pipes
            for hearing in overheard:
                hearing.cancel()

    def _hear_output(self, slot: Slot, process: asyncio.subprocess.Process) -> list[asyncio.Task[None]]:
        """Hear what a process writes, where it was given pipes to write to."""
        pipes = {"stdout": process.stdout, "stderr": process.stderr}
        return [
            asyncio.create_task(self._overhear(slot, name, pipe), name=f"{name} of {slot.id}")
            for name, pipe in pipes.items()
            if pipe is not None
        ]

    async def _spawn(self, slot: Slot, token: str, memory: int | None) -> asyncio.subprocess.Process:
        told = asyncio.subprocess.PIPE if self._settings.log_format == "json" else None
        boot = Boot(worker=slot.id, token=token, front_pid=os.getpid(), settings=self._settings, outbox=memory)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "executor.worker", self._address, self._loader),
            stdin=asyncio.subprocess.PIPE,
            stdout=told or 2,  # what nodes print must not mix with what the server tells scripts on its standard output
            stderr=told,
            start_new_session=True,  # Ctrl-C in the terminal is the front's to handle
            env=self._environment_of(slot),
            pass_fds=() if memory is None else (memory,),
        )
        if process.stdin is not None:
            process.stdin.write(encode_boot(boot))
            process.stdin.close()
        return process

    def _environment_of(self, slot: Slot) -> dict[str, str]:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {
            # Threads that spin while they wait slow torch fivefold as soon as another process wants a core.
            "OMP_WAIT_POLICY": "PASSIVE",
            **{name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE},
            "PYTHONPATH": path,
            "PYTHONFAULTHANDLER": "1",
            **self._environment,
        }
        devices = self._settings.device.split(",") if self._settings.device else []
        if len(self._slots) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = devices[slot.index % len(devices)] if devices else str(slot.index)
        elif devices:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        return environment

    def _accept(self) -> Wire:
        """Begin a connection: its first frame has to prove which process it comes from."""
        wire = Wire(self._greeted)
        self._callers[wire] = asyncio.get_running_loop().call_later(HELLO_S, self._turn_away, wire)
        wire.ended.add_done_callback(lambda ended: self._turn_away(wire))
        return wire

    def _turn_away(self, wire: Wire) -> None:
        """End a connection that has not proven anything, if it is still one."""
        patience = self._callers.pop(wire, None)
        if patience is not None:
            patience.cancel()
            wire.close()

    def _greeted(self, wire: Wire, body: bytes) -> None:
        """Match a connection with the process that it comes from by its token."""
        found = self._awaiting(body) if wire in self._callers else None
        if found is None:
            log.warning("a connection that is no worker's was refused")
            wire.take = lambda wire, body: None
            self._turn_away(wire)
            return
        slot, connected = found
        self._callers.pop(wire).cancel()
        slot.wire, wire.take = wire, lambda wire, body: self._take(slot, body)
        connected.set_result(wire)

    def _awaiting(self, body: bytes) -> tuple[Slot, asyncio.Future[Wire]] | None:
        """Whose Hello this is, of those who are waited for."""
        try:
            hello = decode_from_worker(body)
        except msgspec.DecodeError:
            return None
        if isinstance(hello, Hello):
            for token, (slot, connected) in self._awaited.items():
                if hmac.compare_digest(token, hello.token) and not connected.done():
                    return slot, connected
        return None


def _describe(code: int, *, memory_ran_out: bool = False) -> str:
    if code >= 0:
        return f"exit code {code}"
    if code == -signal.SIGKILL and memory_ran_out:
        return "killed by the system, whose main memory ran out"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _run_folder() -> Path:
    """A new folder that only this user can enter, with a path short enough for a socket's name."""
    parent = tempfile.gettempdir()
    if len(parent) > 60:
        parent = "/tmp"
    _clear_old(Path(parent))
    return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent))


def _clear_old(parent: Path) -> None:
    """Remove the folders of fronts that were killed: nobody listens on their sockets any more."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            if folder.stat().st_uid != os.getuid():
                continue
            try:
                probe.connect(str(folder / SOCKET_NAME))
            except ConnectionRefusedError:
                shutil.rmtree(folder)
