"""Which waiting job goes to which idle worker. Knows no sockets and changes nothing.

Jobs go in their order, each to the worker that has most of what it needs. Where no idle worker has the model of the
next job and a busy one does, later jobs whose models are there go first, MOST_OVERTAKEN times at most: so two models in
turn stay on two workers, and nobody waits for long. Jobs that were put at the head are never overtaken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from executor.engine.base import WorkerInfo
from executor.queue.job import Job
from executor.queue.warmth import Warmth

MOST_OVERTAKEN = 4
LOOKED_AT = 32  # waiting jobs behind the next one

Chosen = tuple[WorkerInfo, Job]


class Placement:
    """Places jobs; `is_tied` tells which ones only the first worker may run. A single worker costs nothing."""

    def __init__(self, warmth: Warmth, is_tied: Callable[[Job], bool]) -> None:
        self._warmth, self._is_tied = warmth, is_tied
        self._overtaken: dict[int, int] = {}  # row -> how often

    def choose(self, jobs: Sequence[Job], idle: Sequence[WorkerInfo], workers: Sequence[WorkerInfo]) -> Chosen | None:
        """The first of these jobs, which are in their order, that an idle worker should run, and that worker."""
        if not idle or not jobs:
            return None
        if len(workers) == 1:
            return idle[0], jobs[0]
        for place, job in enumerate(jobs):
            fit = self._fit(job, idle, workers)
            if fit is not None:
                better = self._better(jobs[place:], fit, idle, workers)
                if better is not None:
                    self._overtaken[job.row] = self._overtaken.get(job.row, 0) + 1
                return better or (fit, job)
        return None

    def began(self, worker: str, job: Job) -> None:
        """A worker got a job."""
        self._overtaken.pop(job.row, None)
        self._warmth.began(worker, job)

    def _fit(self, job: Job, idle: Sequence[WorkerInfo], workers: Sequence[WorkerInfo]) -> WorkerInfo | None:
        """The idle worker that has most of what a job needs, else the one that is idle longest."""
        may = [info for info in idle if info.id == workers[0].id] if self._is_tied(job) else idle
        return min(may, key=lambda info: (*(-warm for warm in self._warmth.of(info.id, job)), info.idle_since_s),
                   default=None)  # fmt: skip

    def _better(
        self, jobs: Sequence[Job], fit: WorkerInfo, idle: Sequence[WorkerInfo], workers: Sequence[WorkerInfo]
    ) -> Chosen | None:
        """A later job whose model an idle worker has, where the first one's model is on a busy one only."""
        first = jobs[0]
        if self._has_files(fit, first) or first.at_head or first.number < 0:
            return None
        free = {info.id for info in idle}
        if not any(info.id not in free and self._has_files(info, first) for info in workers):
            return None
        if self._overtaken.get(first.row, 0) >= MOST_OVERTAKEN:
            return None
        for job in islice(jobs, 1, LOOKED_AT):
            worker = self._fit(job, idle, workers)
            if worker is not None and self._has_files(worker, job):
                return worker, job
        return None

    def _has_files(self, worker: WorkerInfo, job: Job) -> bool:
        return self._warmth.of(worker.id, job)[0] > 0
