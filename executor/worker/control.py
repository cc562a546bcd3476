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
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count

from executor.context import InterruptFlag
from executor.errors import BadInput, NotReady, WeftError
from executor.messages import (
    Answer,
    Ask,
    Begin,
    Clients,
    Finished,
    Followed,
    Free,
    FromWorker,
    Interrupt,
    Reply,
    Request,
    Run,
    Stop,
    Wish,
    decode_to_worker,
    frame,
    read_frame,
)
from executor.outbox import Outbox

log = logging.getLogger("weft.worker")

HOLD_S = 0.005  # how long a message may wait for others to go with
ALONE_S = 0.0002
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
        self.followed = ""  # the job of which the front said last that another one waits behind it
        self.on_clients: Callable[[Clients], None] | None = None  # called on the thread
        self._sock = sock
        self._on_end = on_end
        self._flags: dict[str, InterruptFlag] = {}
        self._open_answers: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self._wishes: dict[int, Future[bytes]] = {}  # asked of the front, by the Request's id
        self._room = threading.Condition()
        self._queued = 0
        self._closed = False
        self._outbox: Outbox | None = None
        self._held = threading.Event()  # something waits in the outbox
        self._held_since_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outgoing: asyncio.Queue[bytes] | None = None
        self._up = threading.Event()
        self.thread = threading.Thread(target=self._serve, name="weft-control", daemon=True)

    def start(self) -> None:
        """Start the thread; returns when messages can be sent."""
        self.thread.start()
        self._up.wait()

    def send(self, message: FromWorker) -> None:
        """Send a message from any thread; waits while the socket has too much, drops it when the channel is closed."""
        if isinstance(message, Finished):
            self._flags.pop(message.job_id, None)
        body = frame(message)
        with self._room:
            if threading.current_thread() is not self.thread:
                self._room.wait_for(lambda: self._queued < MAX_QUEUED or self._closed)
            self._write(body)

    def collect(self, outbox: Outbox) -> None:
        """From now on messages can be held: they wait in this memory for others to go with."""
        self._outbox = outbox
        threading.Thread(target=self._let_go, name="weft-outbox", daemon=True).start()

    def hold(self, message: FromWorker, *, alone: bool = False) -> None:
        """Send a message with the next one, or after HOLD_S; its order among others and its safety are those of `send`.

        For small messages that come close together: one call of the system takes them all, and wakes the front once.
        `alone`: the front does nothing else, and hears of what is older than ALONE_S while this process goes on.
        """
        outbox = self._outbox
        if outbox is None:
            self.send(message)
            return
        with self._room:
            is_first = not outbox
            if not outbox.put(body := frame(message)):
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
        if self._closed or self._loop is None or self._outgoing is None:
            return
        outbox = self._outbox
        if outbox is not None:
            body = outbox.waiting() + body if outbox else body
        rest = self._sent_at_once(body) if body else body
        if rest:
            self._queued += len(rest)
            self._loop.call_soon_threadsafe(self._outgoing.put_nowait, rest)
        if outbox is not None and body:
            outbox.sent(len(body))

    def _sent_at_once(self, body: bytes) -> bytes:
        """Write to the socket from this thread, if nothing waits for it; what is left to send (all: nothing was).

        A hand-over to the control thread for every event would cost more than most nodes.
        """
        if self._queued or not hasattr(socket, "MSG_DONTWAIT"):
            return body
        try:
            return body[self._sock.send(body, socket.MSG_DONTWAIT) :]
        except OSError:  # it would block, or is gone: the control thread finds out
            return body

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the thread; RuntimeError before the start."""
        if self._loop is None:
            raise RuntimeError("the worker's control thread has not started")
        return self._loop

    def request(self, wish: Wish, body_json: bytes, owner: str = "") -> Future[bytes]:
        """Ask the front for something, from any thread; the future gets its JSON answer, or WeftError."""
        answer: Future[bytes] = Future()
        request = Request(id=self.next_number(), wish=wish, body_json=body_json, owner=owner)
        self._wishes[request.id] = answer
        self.send(request)
        if self._closed:
            self._drop_wishes()
        return answer

    def next_number(self) -> int:
        """A number for a Request of this worker that no other one has."""
        return next(self._numbers)

    def interrupt(self, job_id: str) -> None:
        """Let a job end at its next checkpoint."""
        if flag := self._flags.get(job_id):
            flag.set()

    def flush(self, timeout_s: float = 2.0) -> None:
        """Wait until everything sent or held has reached the socket."""
        self.release()
        with self._room:
            self._room.wait_for(lambda: self._queued == 0 or self._closed, timeout_s)

    def close(self) -> None:
        """End the loop from another thread and wait for it; `on_end` is called."""
        with self._room:
            loop, closed = self._loop, self._closed
            if loop is not None and not closed:
                loop.call_soon_threadsafe(self._sock.shutdown, socket.SHUT_RDWR)
        self.thread.join(timeout=5.0)

    # ---------------------------------------------------------------- on the thread

    def _serve(self) -> None:
        code = 0
        try:
            asyncio.run(self._live())
        except Exception:  # noqa: BLE001  # the control loop's border: the process must end, and say why
            traceback.print_exc(file=sys.__stderr__)  # the log goes over the channel, which is gone
            code = 1
        except SystemExit as error:  # a route of a pack called exit()
            traceback.print_exc(file=sys.__stderr__)
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        finally:
            with self._room:
                self._closed = True
                self._room.notify_all()
            self._up.set()
            self._drop_wishes()
            for flag in list(self._flags.values()):
                flag.set()
            self.jobs.put(Stop())
            self._on_end(code)

    async def _live(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._sock)
        writer.transport.set_write_buffer_limits(high=0)  # drained means sent: `_sent_at_once` relies on it
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
                flag = InterruptFlag(held=message.held)
                self._flags[message.job_id] = flag
                self.jobs.put(Job(message, flag))
            case Begin():
                if waiting := self._flags.get(message.job_id):
                    waiting.allow()
            case Followed():
                self.followed = message.job_id
            case Interrupt():
                self.interrupt(message.job_id)
            case Reply():
                self._take_reply(message)
            case Ask():
                task = asyncio.get_running_loop().create_task(self._answer(message))
                self._open_answers.add(task)
                task.add_done_callback(self._open_answers.discard)
            case Stop() if self.answerer is None:
                return False  # still starting: there is nothing to end in order
            case Clients():
                if self.on_clients is not None:
                    self.on_clients(message)
            case Free() | Stop():
                self.jobs.put(message)
        return True

    def _take_reply(self, reply: Reply) -> None:
        answer = self._wishes.pop(reply.id, None)
        if answer is None:
            return
        if reply.error is None:
            answer.set_result(reply.value_json)
        else:
            answer.set_exception(BadInput(reply.error))

    def _drop_wishes(self) -> None:
        for number in list(self._wishes):
            if (answer := self._wishes.pop(number, None)) is not None:
                answer.set_exception(NotReady("the server is gone"))

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
