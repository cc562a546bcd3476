"""What engines that speak frames over a stream share: the workers' places, their states, questions and messages."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from executor.engine.base import EngineMessage, Hear, Question, WorkerInfo, WorkerLost, WorkerState
from executor.engine.output import lines_of
from executor.engine.wire import Wire
from executor.errors import BadInput, NotReady, WorkerCrashed
from executor.messages import (
    Answer,
    Ask,
    Begin,
    Clients,
    Device,
    Finished,
    Followed,
    Free,
    Hello,
    Interrupt,
    LogLine,
    Ready,
    Reply,
    Run,
    Stats,
    ToWorker,
    decode_from_worker,
    frame,
)
from executor.outbox import Outbox
from executor.settings import Settings

log = logging.getLogger("weft.engine")

BACKOFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # pause before a new start, by failures in a row
CRASH_WINDOW_S = 60.0


@dataclass(slots=True)
class Slot:
    """The place of one worker, over all its processes."""

    id: str
    index: int
    state: WorkerState = "starting"
    process: asyncio.subprocess.Process | None = None
    wire: Wire | None = None
    devices: tuple[Device, ...] = ()
    torch_version: str | None = None
    starts: int = 0
    condemned: bool = False  # it was killed, or told that it ends: no job for it any more
    failures: int = 0  # in a row, without a finished job
    crashes: deque[float] = field(default_factory=deque)
    job_id: str = ""  # what it was given last; "" once that ended
    idle_since_s: float = 0.0
    answers: dict[int, asyncio.Future[bytes]] = field(default_factory=dict)

    def info(self) -> WorkerInfo:
        """The slot as others see it."""
        recent = time.monotonic() - CRASH_WINDOW_S
        return WorkerInfo(
            id=self.id,
            state=self.state,
            pid=self.process.pid if self.process else None,
            devices=self.devices,
            torch_version=self.torch_version,
            crashes=sum(moment > recent for moment in self.crashes),
            starts=self.starts,
            idle_since_s=self.idle_since_s,
        )

    def note(self, message: EngineMessage) -> None:
        """Take over what a message says of the worker's state; called before it is handed on."""
        match message:
            case Ready():
                self.state, self.idle_since_s = "idle", time.monotonic()
                self.devices, self.torch_version = message.devices, message.torch_version
            case Finished():
                self.condemned = self.condemned or message.leaves
                if self.condemned or self.job_id in ("", message.job_id):  # else it has the next one already
                    self.job_id = ""
                    self.state, self.idle_since_s = "dead" if self.condemned else "idle", time.monotonic()
                self.failures = 0
                self.crashes.clear()
            case Stats():
                self.devices = message.devices

    def lost(self, reason: str) -> None:
        """The process is gone."""
        self.state, self.wire, self.process, self.job_id = "dead", None, None, ""
        self.failures += 1
        self.crashes.append(time.monotonic())
        while len(self.crashes) > 100:
            self.crashes.popleft()
        for answer in self.answers.values():
            if not answer.done():
                answer.set_exception(WorkerCrashed(f"worker {self.id} ended before it answered: {reason}"))
        self.answers.clear()


class ChannelEngine(ABC):
    """Places for workers, each always filled by `_live`, which subclasses write; use it from one event loop."""

    def __init__(self, settings: Settings, *, loader: str, backoff_s: Sequence[float]) -> None:
        self._settings = settings.without_secrets()  # workers run packs, which need no keys
        self._loader = loader
        self._backoff_s = backoff_s
        self._slots = {f"worker-{i}": Slot(f"worker-{i}", i) for i in range(max(1, settings.workers))}
        self._hear: Hear = lambda worker, message: None
        self._numbers = count(1)
        self._stopping = False
        self._keepers: list[asyncio.Task[None]] = []

    @abstractmethod
    async def _live(self, slot: Slot) -> str:
        """Have one worker in a place from its start to its end; returns why it ended."""

    @abstractmethod
    def _kill(self, slot: Slot) -> bool:
        """End a worker at once; False where that cannot be done."""

    def _start_keepers(self, hear: Hear) -> None:
        self._hear = hear
        self._keepers = [asyncio.create_task(self._keep(slot), name=slot.id) for slot in self._slots.values()]

    async def _stop_keepers(self, grace_s: float) -> None:
        """Wait for the workers to end, kill those that do not."""
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=grace_s)
        for slot, keeper in zip(self._slots.values(), self._keepers, strict=False):
            self._kill(slot)
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    # ---------------------------------------------------------------- what the dispatcher calls

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Every worker as it stands."""
        return tuple(slot.info() for slot in self._slots.values())

    def run(self, worker: str, message: Run) -> None:
        """Give a job to a worker, which takes it after the one it has; WorkerCrashed if it is gone."""
        slot = self._slots[worker]
        if slot.wire is None or slot.condemned:
            slot.state = "dead"
            raise WorkerCrashed(f"worker {slot.id} went away before it could take the job")
        slot.state, slot.job_id = "busy", message.job_id
        send(slot, message)

    def begin(self, worker: str, job_id: str) -> None:
        """Let a held job of a worker run; dropped if that worker is gone."""
        send(self._slots[worker], Begin(job_id))

    def follow(self, worker: str, job_id: str) -> None:
        """Tell a worker that another job waits behind its own; dropped if that worker is gone."""
        send(self._slots[worker], Followed(job_id))

    def interrupt(self, worker: str, job_id: str, *, force: bool = False) -> None:
        """Ask a worker to stop its job; `force` ends its process, where it has one of its own."""
        slot = self._slots[worker]
        if force and self._kill(slot):
            slot.condemned = True
            log.warning("worker %s is ended: a forced interrupt of prompt %s", worker, job_id)
        else:
            send(slot, Interrupt(job_id))

    def free(self, *, models: bool, cache: bool) -> None:
        """Let every worker unload models and drop results once it is idle."""
        for slot in self._slots.values():
            send(slot, Free(models=models, cache=cache))

    async def ask(
        self, question: Question, body_json: bytes, *, timeout_s: float = 30.0, worker: str | None = None
    ) -> bytes:
        """A worker's JSON answer; an idle worker is preferred, a busy one answers beside its work."""
        asked = [self._slots[worker]] if worker is not None else self._slots.values()
        ready = sorted(
            (slot for slot in asked if slot.state in ("idle", "busy") and slot.wire is not None),
            key=lambda slot: slot.state == "busy",
        )
        if not ready:
            raise NotReady("no worker is ready yet" if worker is None else f"worker {worker} is not ready")
        slot, number = ready[0], next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        slot.answers[number] = answer
        send(slot, Ask(id=number, question=question, body_json=body_json))
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError as error:
            raise NotReady(f"worker {slot.id} did not answer within {timeout_s:g} s") from error
        finally:
            slot.answers.pop(number, None)

    def reply(self, worker: str, message: Reply) -> None:
        """Answer a worker's Request; dropped if that worker is gone."""
        send(self._slots[worker], message)

    def inform(self, worker: str, message: Clients) -> None:
        """Tell a worker what its packs may know of the clients; dropped if that worker is gone."""
        send(self._slots[worker], message)

    # ---------------------------------------------------------------- one worker

    async def _keep(self, slot: Slot) -> None:
        """Have a worker in this place, always."""
        while not self._stopping:
            slot.starts += 1
            slot.state, slot.condemned = "starting", False
            born_s = time.monotonic()
            reason = await self._live(slot)
            if time.monotonic() - born_s > CRASH_WINDOW_S:
                slot.failures = 0
            slot.lost(reason)
            self._hear(slot.id, WorkerLost(reason))
            if not self._stopping:
                pause_s = self._backoff_s[min(slot.failures, len(self._backoff_s)) - 1]
                log.error("worker %s ended: %s; starting it again in %g s", slot.id, reason, pause_s)
                await asyncio.sleep(pause_s)

    async def _listen(self, slot: Slot, wire: Wire, outbox: Outbox | None = None) -> None:
        """Hand on what a process sends, until it closes the channel or sends nonsense; then what it left unsent."""
        slot.wire, wire.whose = wire, f"worker {slot.id}"
        await wire.ended
        if outbox is not None:
            wire.feed(outbox.left(wire.received))

    def _take(self, slot: Slot, body: bytes) -> None:
        """Hand on one message; msgspec.DecodeError for none."""
        message = decode_from_worker(body)
        if isinstance(message, Answer):
            _settle(slot, message)
        elif not isinstance(message, Hello):
            slot.note(message)
            self._hear(slot.id, message)

    async def _overhear(self, slot: Slot, name: str, pipe: asyncio.StreamReader) -> None:
        """Hand on what a process writes past Python, as lines about the prompt that it was given."""
        async for text in lines_of(pipe):
            line = LogLine(time_s=time.time(), level="INFO", logger=name, text=text, job_id=slot.job_id)
            self._hear(slot.id, line)


def _settle(slot: Slot, answer: Answer) -> None:
    future = slot.answers.pop(answer.id, None)
    if future is None or future.done():
        return
    if answer.error is not None:
        future.set_exception(BadInput(answer.error))
    else:
        future.set_result(answer.value_json)


def send(slot: Slot, message: ToWorker) -> None:
    """Send a message, or drop it if the worker is gone."""
    if slot.wire is not None:
        slot.wire.write(frame(message))
