"""A job in a worker's hands."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from executor.errors import JobTimeout
from executor.queue.job import Job, Result, crash_result
from executor.queue.progress import Follow


@dataclass(slots=True, kw_only=True)
class Running:
    """A job in a worker's hands, what it told of itself, and whether its end is being stored or its time is up."""

    job: Job
    worker: str
    follow: Follow
    ending: bool = False
    overdue: bool = False
    watch: asyncio.Task[None] | None = None

    @property
    def node_id(self) -> str | None:
        """The node it told last."""
        return self.follow.node_id

    def crashed(self, reason: str) -> Result:
        """Its result when its worker is gone for good; the node that it told last is named."""
        node = self.follow.node()
        return crash_result(self.job, reason, node_id=node["node_id"], node_type=node["node_type"])

    def late(self, limit_s: float) -> Result:
        """Its result when its time is up."""
        text = f"the prompt ran longer than {limit_s:g} s (--job-timeout) and was ended"
        node = self.follow.node()
        return crash_result(self.job, text, node_id=node["node_id"], node_type=node["node_type"], cause=JobTimeout)
