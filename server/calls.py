"""Requests that wait for the job they brought, and jobs that end when nobody waits for them any more. Knows no HTTP.

A job that a waiting request brought is *bound* to it: it is cancelled once all who waited have gone. It is free, and
goes on whatever happens, as soon as somebody asks for it without that: by POST /prompt, with `keep`, or after the
server itself gave up waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from executor.errors import NotReady
from executor.queue.dispatcher import Dispatcher
from executor.queue.job import HistoryEntry, Job
from server.folding import digest_of
from server.submission import Submission


class Left(Exception):
    """Whoever asked has gone: there is nobody to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a call: what POST /prompt answers, and the job's end.

    `entry` is None while the job goes on, and where `is_gone`: it was removed, or its end is not kept any more.
    """

    accepted: Mapping[str, object]
    entry: HistoryEntry | None = None
    is_gone: bool = False

    @property
    def prompt_id(self) -> str:
        """The job's id."""
        return str(self.accepted["prompt_id"])


class Calls:
    """All requests that wait for jobs."""

    def __init__(self, submission: Submission, dispatcher: Dispatcher) -> None:
        self._submission = submission
        self._dispatcher = dispatcher
        self._store = dispatcher.store
        self._bound: set[int] = set()  # rows
        self._waiting: Counter[int] = Counter()  # by row

    async def call(
        self,
        body: Mapping[str, object],
        key: str | None,
        *,
        owner: str,
        bound: bool,
        wait_s: float,
        gone: Callable[[], Awaitable[None]],
    ) -> Outcome:
        """Queue a prompt as Submission.accept does, and wait at most `wait_s` for its end, or until `gone` returns.

        Raises what that raises, and Left.
        """
        brought: list[Job] = []

        def note(job: Job) -> None:
            brought.append(job)
            if bound:
                self._bound.add(job.row)

        accepted = await self._submission.accept(body, key, owner, note)
        outcome = Outcome(accepted=accepted)
        job = brought[0] if brought else await self._joined(outcome.prompt_id, body, owner)
        if job is None or not self._store.holds(job.row):
            entry = await self._store.past.entry(outcome.prompt_id, owner)
            return Outcome(accepted=accepted, entry=entry, is_gone=entry is None)
        if not bound:
            self._bound.discard(job.row)
        return await self._attend(job, outcome, wait_s, gone)

    def free(self, prompt_id: str, owner: str) -> None:
        """Somebody asked for a job without waiting for it: it goes on whoever leaves."""
        if self._bound:
            self._bound -= {job.row for job in self._named(prompt_id, owner)}

    async def _joined(self, prompt_id: str, body: Mapping[str, object], owner: str) -> Job | None:
        """The job that an equal request brought, while it waits or runs."""
        if body.get("prompt_id") is not None:
            digest = await asyncio.to_thread(digest_of, body)
            return self._store.same(prompt_id, digest, owner)
        return next(iter(self._named(prompt_id, owner)), None)  # an id of the server's own is of one job only

    async def _attend(self, job: Job, outcome: Outcome, wait_s: float, gone: Callable[[], Awaitable[None]]) -> Outcome:
        end = asyncio.ensure_future(self._store.waiters.of(job.row))
        leaving = asyncio.ensure_future(gone())
        self._waiting[job.row] += 1
        left = True
        try:
            await asyncio.wait({end, leaving}, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            left = leaving.done() and not end.done()
        finally:
            self._waiting -= Counter({job.row: 1})
            for task in (end, leaving):
                if not task.done():
                    task.cancel()
            if left:
                await self._leave(job)
        if left:
            raise Left
        return self._told(job, outcome, end)

    def _told(self, job: Job, outcome: Outcome, end: asyncio.Future[HistoryEntry | None]) -> Outcome:
        """What is known when the waiting is over; a job that has not ended goes on, for its sender was told its id."""
        self._bound.discard(job.row)
        if not end.done() or end.cancelled() or isinstance(end.exception(), NotReady):
            return outcome
        entry = end.result()
        return Outcome(accepted=outcome.accepted, entry=entry, is_gone=entry is None)

    async def _leave(self, job: Job) -> None:
        """Cancel a bound job that nobody waits for; never another one of the same id."""
        if self._waiting[job.row] or job.row not in self._bound:
            return
        self._bound.discard(job.row)
        if len(self._named(job.id, job.owner)) > 1:
            return
        if not await self._dispatcher.delete([job.id], job.owner):
            self._dispatcher.interrupt(job.id, owner=job.owner)

    def _named(self, prompt_id: str, owner: str) -> list[Job]:
        jobs = (*self._store.running(owner), *self._store.pending(owner))
        return [job for job in jobs if job.id == prompt_id]
