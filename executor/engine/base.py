"""What every engine offers the dispatcher: workers that take one job at a time, and their messages in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from executor.messages import (
    Blob,
    Clients,
    Device,
    Emit,
    Finished,
    Finishing,
    LogLine,
    Ready,
    Refreshed,
    Reply,
    Request,
    Run,
    Stats,
)

WorkerState = Literal["starting", "idle", "busy", "dead"]
Question = Literal["describe", "validate", "prompt_hook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """One worker as it stands now; `crashes` counts those of the last minute since its last success."""

    id: str
    state: WorkerState
    pid: int | None = None
    devices: tuple[Device, ...] = ()
    torch_version: str | None = None
    crashes: int = 0
    starts: int = 0
    idle_since_s: float = 0.0  # time.monotonic()


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker ended, with or without a job in hand; no message of it follows."""

    reason: str


EngineMessage = Ready | Refreshed | Request | Stats | Emit | Blob | Finishing | Finished | LogLine | WorkerLost


Hear = Callable[[str, EngineMessage], None]


class Heard:
    """What workers tell, kept until it is asked for: a Hear for those who go through it one by one."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[tuple[str, EngineMessage]] = asyncio.Queue()

    def __call__(self, worker: str, message: EngineMessage) -> None:
        """Keep a message."""
        self._messages.put_nowait((worker, message))

    async def next(self) -> tuple[str, EngineMessage]:
        """The next message, with the worker's id."""
        return await self._messages.get()


class Engine(Protocol):
    """Workers of one kind; used from one event loop."""

    async def start(self, hear: Hear) -> None:
        """Start the workers; they tell Ready when they can run jobs.

        `hear` is called with what they tell and the worker's id, each worker's messages in the order sent.
        """
        ...

    async def stop(self) -> None:
        """End the workers, gently first; their running jobs are lost."""
        ...

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Every worker as it stands."""
        ...

    def run(self, worker: str, message: Run) -> None:
        """Give a job to a worker, which takes it after the one it has; WorkerCrashed if it is gone."""
        ...

    def begin(self, worker: str, job_id: str) -> None:
        """Let a held job of a worker run; dropped if that worker is gone."""
        ...

    def follow(self, worker: str, job_id: str) -> None:
        """Tell a worker that another job waits behind its own; dropped if that worker is gone."""
        ...

    def interrupt(self, worker: str, job_id: str, *, force: bool = False) -> None:
        """Ask a worker to stop its job at the next checkpoint; `force` ends the worker instead."""
        ...

    def free(self, *, models: bool, cache: bool) -> None:
        """Let every worker unload models and drop results once it is idle."""
        ...

    async def ask(
        self, question: Question, body_json: bytes, *, timeout_s: float = 30.0, worker: str | None = None
    ) -> bytes:
        """The JSON answer of one worker, or (None) of any; NotReady without it or in time, WorkerCrashed, BadInput."""
        ...

    def reply(self, worker: str, message: Reply) -> None:
        """Answer a worker's Request; dropped if that worker is gone."""
        ...

    def inform(self, worker: str, message: Clients) -> None:
        """Tell a worker what its packs may know of the clients; dropped if that worker is gone."""
        ...
