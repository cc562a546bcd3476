"""The worker's end of the channel: a thread that hears the front, whatever the other threads do.

It does nothing but hear: what comes in is handed on, questions to an event loop on a thread of its own. When it ends
for any reason (the front closed the channel, died, or something here broke), what runs is interrupted, a Stop stands at
the end of `jobs`, and `on_end` is called with an exit code: a process of its own exits there and then, so that no deaf
worker is left.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
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
    Splitter,
    Stop,
    Wish,
    decode_to_worker,
    frame,
)
from executor.outbox import Outbox
from executor.worker.loop_thread import LoopThread
from executor.worker.outgoing import Outgoing

log = logging.getLogger("weft.worker")

READ_BYTES = 256 << 10


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
        self._code = 0
        self._flags: dict[str, InterruptFlag] = {}
        self._numbers = count(1)
        self._wishes: dict[int, Future[bytes]] = {}  # asked of the front, by the Request's id
        self._outgoing = Outgoing(sock)
        self._questions = LoopThread("weft-questions", self.exit)
        self.thread = threading.Thread(target=self._serve, name="weft-control", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._sock.setblocking(True)
        self.thread.start()

    def collect(self, outbox: Outbox) -> None:
        """From now on messages can be held: they wait in this memory for others to go with. Nothing was sent yet."""
        self._outgoing.collect(outbox)

    def send(self, message: FromWorker) -> None:
        """Send a message from any thread; waits while the socket has too much, drops it when the channel is closed."""
        if isinstance(message, Finished):
            self._flags.pop(message.job_id, None)
        self._outgoing.send(frame(message), waits=threading.current_thread() is not self.thread)

    def hold(self, message: FromWorker, *, alone: bool = False) -> None:
        """Send a message with the next one, or soon (Outgoing.hold)."""
        self._outgoing.hold(frame(message), alone=alone)

    def flush(self, timeout_s: float = 2.0) -> None:
        """Wait until everything sent or held has reached the socket."""
        self._outgoing.flush(timeout_s)

    def request(self, wish: Wish, body_json: bytes, owner: str = "", *, at_once: bool = False) -> Future[bytes]:
        """Ask the front for something, from any thread; the future gets its JSON answer, or WeftError.

        `at_once`: it is met whatever else this worker asked, as in Request.
        """
        answer: Future[bytes] = Future()
        request = Request(id=next(self._numbers), wish=wish, body_json=body_json, at_once=at_once, owner=owner)
        self._wishes[request.id] = answer
        self.send(request)
        if self._outgoing.is_closed:
            self._drop_wishes()
        return answer

    def is_answering(self) -> bool:
        """Tell whether the caller runs where the front's questions are answered, one after another."""
        return self._questions.is_current()

    def interrupt(self, job_id: str) -> None:
        """Let a job end at its next checkpoint."""
        if flag := self._flags.get(job_id):
            flag.set()

    def close(self) -> None:
        """End the thread from another one and wait for it; `on_end` is called."""
        with suppress(OSError):  # it has ended
            self._sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(timeout=5.0)

    def exit(self, error: SystemExit) -> None:
        """Code of a pack called exit() on an event loop's thread: the worker ends with its code."""
        print("".join(traceback.format_exception(error)), end="", file=sys.__stderr__)  # the log may not leave any more
        self._code = error.code if isinstance(error.code, int) else int(error.code is not None)
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    # ---------------------------------------------------------------- on the thread

    def _serve(self) -> None:
        try:
            self._hear()
        except Exception:  # noqa: BLE001  # the channel's border: the process must end, and say why
            traceback.print_exc(file=sys.__stderr__)  # the log goes over the channel, which is gone
            self._code = 1
        finally:
            self._outgoing.close()
            self._drop_wishes()
            for flag in list(self._flags.values()):
                flag.set()
            self.jobs.put(Stop())
            self._on_end(self._code)
            self._questions.close()
            self._sock.close()

    def _hear(self) -> None:
        splitter = Splitter()
        while data := self._read():
            for body in splitter.feed(data):
                if not self._receive(body):
                    return

    def _read(self) -> bytes:
        """What comes next, b"" at the end of the stream."""
        try:
            return self._sock.recv(READ_BYTES)
        except OSError:
            return b""

    def _receive(self, body: bytes) -> bool:
        """Take a message; False: the channel is to end."""
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
                asyncio.run_coroutine_threadsafe(self._answer(message), self._questions.loop)
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
