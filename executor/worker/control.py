"""The worker's end of the channel: a thread with an event loop that hears the front, whatever the main thread does.

When the loop ends for any reason (the front closed the channel, died, or something here broke), what runs is
interrupted, a Stop stands at the end of `jobs`, and `on_end` is called with an exit code: a process of its own exits
there and then, so that no deaf worker is left.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import socket
import threading
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from executor.context import InterruptFlag
from executor.errors import WeftError
from executor.messages import (
    Answer,
    Ask,
    Finished,
    Free,
    FromWorker,
    Interrupt,
    Run,
    Stop,
    decode_to_worker,
    frame,
    read_frame,
)

log = logging.getLogger("weft.worker")

MAX_QUEUED = 64 << 20  # bytes waiting for the socket before the sender has to wait


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt to run and the flag that stops it."""

    run: Run
    flag: InterruptFlag


Work = Job | Free | Stop
Answerer = Callable[[Ask], Awaitable[bytes]]


class Control:
    """Messages in, messages out; `jobs` is what the main thread works off, in order."""

    def __init__(self, sock: socket.socket, on_end: Callable[[int], None]) -> None:
        self.jobs: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.answerer: Answerer | None = None  # set before Ready is sent
        self._sock = sock
        self._on_end = on_end
        self._flags: dict[str, InterruptFlag] = {}
        self._open_answers: set[asyncio.Task[None]] = set()
        self._room = threading.Condition()
        self._queued = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outgoing: asyncio.Queue[bytes] | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="weft-control", daemon=True)

    def start(self) -> None:
        """Start the thread; returns when messages can be sent."""
        self._thread.start()
        self._up.wait()

    def send(self, message: FromWorker) -> None:
        """Send a message from any thread; waits while the socket has too much, drops it when the channel is closed."""
        if isinstance(message, Finished):
            self._flags.pop(message.job_id, None)
        body = frame(message)
        with self._room:
            if threading.current_thread() is not self._thread:
                self._room.wait_for(lambda: self._queued < MAX_QUEUED or self._closed)
            if self._closed or self._loop is None or self._outgoing is None:
                return
            self._queued += len(body)
            self._loop.call_soon_threadsafe(self._outgoing.put_nowait, body)

    def flush(self, timeout_s: float = 2.0) -> None:
        """Wait until everything sent has reached the socket."""
        with self._room:
            self._room.wait_for(lambda: self._queued == 0 or self._closed, timeout_s)

    def close(self) -> None:
        """End the loop from another thread and wait for it; `on_end` is called."""
        with self._room:
            loop, closed = self._loop, self._closed
            if loop is not None and not closed:
                loop.call_soon_threadsafe(self._sock.shutdown, socket.SHUT_RDWR)
        self._thread.join(timeout=5.0)

    # ---------------------------------------------------------------- on the thread

    def _serve(self) -> None:
        code = 0
        try:
            asyncio.run(self._live())
        except Exception:  # noqa: BLE001  # the control loop's border: the process must end, and say why
            traceback.print_exc()  # the log goes over the channel, which is gone
            code = 1
        finally:
            with self._room:
                self._closed = True
                self._room.notify_all()
            self._up.set()
            for flag in list(self._flags.values()):
                flag.set()
            self.jobs.put(Stop())
            self._on_end(code)

    async def _live(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._sock)
        self._loop, self._outgoing = asyncio.get_running_loop(), asyncio.Queue()
        sender = asyncio.create_task(self._send_all(writer, self._outgoing))
        self._up.set()
        try:
            while (body := await read_frame(reader)) is not None:
                if not self._receive(body):
                    return
        finally:
            for task in (sender, *self._open_answers):
                task.cancel()
            await asyncio.gather(sender, *self._open_answers, return_exceptions=True)
            writer.close()

    async def _send_all(self, writer: asyncio.StreamWriter, outgoing: asyncio.Queue[bytes]) -> None:
        while True:
            body = await outgoing.get()
            try:
                writer.write(body)
                await writer.drain()
            except ConnectionError:
                return  # the reader sees the end as well
            with self._room:
                self._queued -= len(body)
                self._room.notify_all()

    def _receive(self, body: bytes) -> bool:
        """Take a message; False: the loop is to end."""
        message = decode_to_worker(body)
        match message:
            case Run():
                flag = InterruptFlag()
                self._flags[message.job_id] = flag
                self.jobs.put(Job(message, flag))
            case Interrupt():
                if flag_of_job := self._flags.get(message.job_id):
                    flag_of_job.set()
            case Ask():
                task = asyncio.get_running_loop().create_task(self._answer(message))
                self._open_answers.add(task)
                task.add_done_callback(self._open_answers.discard)
            case Stop() if self.answerer is None:
                return False  # still starting: there is nothing to end in order
            case Free() | Stop():
                self.jobs.put(message)
        return True

    async def _answer(self, question: Ask) -> None:
        if self.answerer is None:
            self.send(Answer(id=question.id, error="the worker is still starting"))
            return
        try:
            answer = Answer(id=question.id, value_json=await self.answerer(question))
        except WeftError as error:
            answer = Answer(id=question.id, error=str(error))
        except Exception as error:
            log.exception("a question of the front (%s) could not be answered", question.question)
            answer = Answer(id=question.id, error=f"{type(error).__name__}: {error}")
        self.send(answer)
