"""How a job stands at this moment, for clients that poll. Knows no requests."""

from __future__ import annotations

import json

from executor.queue.deliveries import Delivery
from executor.queue.dispatcher import Dispatcher
from executor.queue.job import HistoryEntry, Job, shown_to
from executor.queue.progress import Progress
from server.addresses import origin

View = dict[str, object]


class JobStates:
    """Answers of GET /weft/jobs/{id}."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._store = dispatcher.store

    async def of(self, job_id: str, owner: str | None = None) -> View | None:
        """All that is told of a job: its state, how far it is, its times, how it ended; None for an unknown id.

        With an owner, others' jobs are unknown, and do not count among those that run before.
        """
        job = self.queued(job_id, owner)
        if job is not None:
            state = self.state(job, owner)
            end: View = {"end_time": None, "error": None, "outputs": {}, "webhooks": self._hooks(job)}
            return {"id": job_id, **state, **times_of(job), **end}
        entry = await self._store.past.entry(job_id, owner)
        if entry is None:
            return None
        return {
            "id": job_id,
            **ended_state(entry),
            **times_of(entry.job),
            "end_time": entry.ended_ms,
            "error": error_of(entry),
            "outputs": json.loads(shown_to(owner, entry).result.outputs_json),
            "webhooks": [_told(each) for each in self._store.deliveries.of(job_id, owner, entry.ended_ms)],
        }

    def _hooks(self, job: Job) -> list[View]:
        """Whom the end of a job will be told."""
        hooks = (job.hook, self._store.deliveries.everyone)
        return [_hook_view(hook.url, "pending") for hook in hooks if hook is not None]

    def queued(self, job_id: str, owner: str | None = None) -> Job | None:
        """The job of that id that runs, else the first that waits: of one owner, or anybody's."""
        jobs = (*self._store.running(owner), *self._store.pending(owner))
        return next((job for job in jobs if job.id == job_id), None)

    def state(self, job: Job, owner: str | None = None) -> View:
        """How far a job of the queue is; the first to run stands at position 1, one that runs at 0."""
        if job.state == "pending":
            return {**_view("pending", Progress()), "queue_position": self._store.position(job.row, owner)}
        return {**_view("running", self._dispatcher.progress(job.row) or Progress()), "queue_position": 0}


def _told(delivery: Delivery) -> View:
    """How far one delivery is."""
    told = _hook_view(delivery.url, delivery.state)
    waits = delivery.state == "waiting"
    known = {"id": delivery.id, "tries": delivery.tries, "status": delivery.status, "reason": delivery.reason}
    return {**told, **known, "next_time": delivery.next_ms if waits else None}


def _hook_view(url: str, state: str) -> View:
    """A receiver, of whose address only the place is told: the rest may be secret."""
    return {
        "url": origin(url),
        "state": state,
        "id": None,
        "tries": 0,
        "status": None,
        "reason": None,
        "next_time": None,
    }


def ended_state(entry: HistoryEntry) -> View:
    """The same of a job that ended."""
    good = entry.result.state == "succeeded"
    view = _view(entry.result.state, Progress(percent=100.0, seconds_left=0.0))
    return view if good else {**view, "percent": None}


def _view(state: str, progress: Progress) -> View:
    node = {"id": progress.node_id, "title": progress.title, "class_type": progress.class_type}
    return {
        "state": state,
        "queue_position": None,
        "percent": progress.percent,
        "current_node": None if progress.node_id is None else node,
        "step": progress.step,
        "steps": progress.steps,
        "seconds_left": progress.seconds_left,
    }


def times_of(job: Job) -> View:
    """How often a job was tried, and when it came and began (Unix time in ms)."""
    return {"attempts": job.attempts, "create_time": job.created_ms, "start_time": job.started_ms}


def error_of(entry: HistoryEntry) -> View | None:
    """What ended a job that failed: the data of its error, without the inputs."""
    for event, data in json.loads(entry.result.messages_json):
        if event == "execution_error" and isinstance(data, dict):
            names = ("node_id", "node_type", "exception_type", "exception_message")
            return {name: data.get(name) for name in names}
    return None
