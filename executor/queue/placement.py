"""Which waiting job goes to which idle worker. Knows no sockets and changes nothing.

Jobs go in their order, each to the worker that has most of what it needs. Where a busy worker used the model of the
next job later than the idle ones, later jobs whose models these used last go first, MOST_OVERTAKEN times at most: so
two models in turn stay on two workers, also once both have seen both, and nobody waits for long. Jobs that were put at
the head are never overtaken. A worker that is busy with the files of its job and could have the next one beside gets
none whose model another worker used later.
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
        """The first of these jobs, which are in their order, that an idle worker should run, and that worker.

        Among the idle ones may be busy ones: those that only write files.
        """
        if not idle or not jobs:
            return None
        if len(workers) == 1:
            return idle[0], jobs[0]
        for place, job in enumerate(jobs):
            fit = self._fit(job, idle, workers)
            if fit is None:
                continue
            if self._is_elsewhere(job, fit, idle, workers):
                better = self._better(jobs[place:], idle, workers)
                if better is not None:
                    self._overtaken[job.row] = self._overtaken.get(job.row, 0) + 1
                if better is not None or fit.state == "busy":
                    return better
            return fit, job
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

    def _is_elsewhere(
        self, job: Job, fit: WorkerInfo, idle: Sequence[WorkerInfo], workers: Sequence[WorkerInfo]
    ) -> bool:
        """Whether a worker that has no time used a job's model later than this one, and the job may wait for it."""
        if job.at_head or job.number < 0 or self._overtaken.get(job.row, 0) >= MOST_OVERTAKEN:
            return False
        return self._busy_models(job, idle, workers) > self._warmth.models(fit.id, job)

    def _better(self, jobs: Sequence[Job], idle: Sequence[WorkerInfo], workers: Sequence[WorkerInfo]) -> Chosen | None:
        """A job behind the first of these whose model an idle worker used last."""
        for job in islice(jobs, 1, LOOKED_AT):
            worker = self._fit(job, idle, workers)
            models = 0.0 if worker is None else self._warmth.models(worker.id, job)
            if worker is not None and models > 0 and models >= self._busy_models(job, idle, workers):
                return worker, job
        return None

    def _busy_models(self, job: Job, idle: Sequence[WorkerInfo], workers: Sequence[WorkerInfo]) -> float:
        """How much of a job's models the best of the workers has that have no time."""
        free = {info.id for info in idle}
        return max((self._warmth.models(info.id, job) for info in workers if info.id not in free), default=0.0)
