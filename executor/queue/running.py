"""A job in a worker's hands."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass

from msgspec.structs import replace

from executor.engine.base import EngineMessage
from executor.errors import JobTimeout
from executor.messages import Run
from executor.queue.job import Job, Result, crash_result, interrupted_result
from executor.queue.progress import Follow


@dataclass(slots=True, kw_only=True)
class Running:
    """A job in a worker's hands, what it told of itself, and whether its end is being stored or its time is up."""

    job: Job
    worker: str
    follow: Follow
    ending: bool = False
    overdue: bool = False
    alone: bool = False  # as far as its worker knows nothing waits behind it
    watch: asyncio.Task[None] | None = None

    @property
    def node_id(self) -> str | None:
        """The node it told last."""
        return self.follow.node_id

    def crashed(self, reason: str) -> Result:
        """Its result when its worker is gone for good; the node that it told last is named."""
        node = self.follow.node()
        result = crash_result(self.job, reason, node_id=node["node_id"], node_type=node["node_type"])
        return self._with_made(result)

    def late(self, limit_s: float) -> Result:
        """Its result when its time is up."""
        text = f"the prompt ran longer than {limit_s:g} s (--job-timeout) and was ended"
        node = self.follow.node()
        result = crash_result(self.job, text, node_id=node["node_id"], node_type=node["node_type"], cause=JobTimeout)
        return self._with_made(result)

    def stopped(self) -> Result:
        """Its result when the user stopped it and its worker went away before it could say so."""
        return self._with_made(interrupted_result(self.job, **self.follow.node()))

    def _with_made(self, result: Result) -> Result:
        """A result with what nodes told before their worker went away: it is there, and may be fetched."""
        outputs, meta = self.follow.made()
        return replace(result, outputs_json=json.dumps(outputs).encode(), meta_json=json.dumps(meta).encode())


@dataclass(frozen=True, slots=True)
class Ending:
    """A job that its worker has ended, and the task that stores and tells it."""

    running: Running
    task: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class Held:
    """What a worker told of its next job too soon, and the task that hears it in time."""

    messages: deque[EngineMessage]
    task: asyncio.Task[None]


def run_message(job: Job, *, alone: bool, held: bool = False) -> Run:
    """A job as its worker gets it."""
    return Run(
        job_id=job.id,
        prompt_json=job.prompt_json,
        targets=job.targets,
        extra_json=job.extra_json,
        secrets_json=job.secrets_json,
        client_id=job.client_id,
        attempt=job.attempts,
        row=job.row,
        owner=job.owner,
        alone=alone,
        held=held,
    )
