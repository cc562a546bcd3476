"""An engine without workers: the test plays them."""

from __future__ import annotations

import asyncio
import json

from executor.engine.base import EngineMessage, Hear, WorkerInfo, WorkerLost
from executor.errors import WorkerCrashed
from executor.messages import Clients, Emit, Finished, Ready, Reply, Run


class FakeEngine:
    """Notes what the dispatcher wants; `tell` plays a message of a worker."""

    def __init__(self, workers: int = 1) -> None:
        self.states: dict[str, str] = {f"w{number}": "idle" for number in range(workers)}
        self.runs: asyncio.Queue[tuple[str, Run]] = asyncio.Queue()
        self.interrupts: list[tuple[str, str, bool]] = []
        self.freed: list[tuple[bool, bool]] = []
        self.replies: asyncio.Queue[tuple[str, Reply]] = asyncio.Queue()
        self.informed: list[tuple[str, Clients]] = []
        self.begun: list[tuple[str, str]] = []
        self.followed: list[tuple[str, str]] = []
        self.refuse = False
        self.stopped = False
        self._hear: Hear = lambda worker, message: None

    async def start(self, hear: Hear) -> None:
        self._hear = hear

    async def stop(self) -> None:
        self.stopped = True

    def workers(self) -> tuple[WorkerInfo, ...]:
        return tuple(WorkerInfo(id=name, state=state) for name, state in self.states.items())

    def run(self, worker: str, message: Run) -> None:
        if self.refuse:
            self.refuse = False
            raise WorkerCrashed("it is gone")
        self.runs.put_nowait((worker, message))

    def begin(self, worker: str, job_id: str) -> None:
        self.begun.append((worker, job_id))

    def follow(self, worker: str, job_id: str) -> None:
        self.followed.append((worker, job_id))

    def interrupt(self, worker: str, job_id: str, *, force: bool = False) -> None:
        self.interrupts.append((worker, job_id, force))

    def free(self, *, models: bool, cache: bool) -> None:
        self.freed.append((models, cache))

    async def ask(
        self, question: str, body_json: bytes, *, timeout_s: float = 30.0, worker: str | None = None
    ) -> bytes:
        return body_json

    def inform(self, worker: str, message: Clients) -> None:
        self.informed.append((worker, message))

    def reply(self, worker: str, message: Reply) -> None:
        self.replies.put_nowait((worker, message))

    def tell(self, message: EngineMessage, worker: str = "w0") -> None:
        self._hear(worker, message)

    def tell_ready(self, worker: str = "w0") -> None:
        self.states[worker] = "idle"
        self.tell(Ready(definitions=(), wire_json=b"{}", devices=(), torch_version="2"), worker)

    def tell_lost(self, worker: str = "w0") -> None:
        self.states[worker] = "dead"
        self.tell(WorkerLost("killed by SIGKILL"), worker)

    def tell_executing(self, job_id: str, node: str, worker: str = "w0") -> None:
        data = json.dumps({"node": node, "display_node": node, "prompt_id": job_id}).encode()
        self.tell(Emit(job_id=job_id, event="executing", data_json=data), worker)

    def tell_finished(self, job_id: str, state: str = "succeeded", worker: str = "w0") -> None:
        event = {"succeeded": "execution_success", "failed": "execution_error"}.get(state, "execution_interrupted")
        messages = json.dumps([["execution_start", {}], [event, {"prompt_id": job_id}]]).encode()
        self.tell(
            Finished(job_id=job_id, state=state, outputs_json=b"{}", meta_json=b"{}", messages_json=messages), worker
        )
