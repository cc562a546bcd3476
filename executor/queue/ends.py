"""Ends jobs: the row is stored, then the end is told. Knows no worker.

A job ends in this order: its row is stored, its terminal event is published, then `status`, then `executing` with
node null to its owner.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Awaitable

import msgspec

from executor.queue.ears import Audience, Publish
from executor.queue.job import Job, Result, about
from executor.queue.store import Store

log = logging.getLogger("weft.dispatcher")

DISK_WAIT_S = (0.1, 1.0, 5.0, 30.0)  # pauses between tries when the disk refuses a row; the last one repeats

_MESSAGES = msgspec.json.Decoder(list[tuple[str, msgspec.Raw]])


class Ends:
    """Stores and tells how jobs ended."""

    def __init__(self, store: Store, publish: Publish) -> None:
        self._store, self._publish = store, publish

    def begin(self, job: Job, result: Result) -> asyncio.Future[bool]:
        """Have the end of a job written, and told the moment it is: on its way when this returns."""
        return self._store.finish(job, result, lambda: self.tell(job, result))

    async def store(self, job: Job, result: Result, writing: Awaitable[bool] | None = None) -> bool:
        """Write and tell the end of a job, waiting for a full disk to get room: what is not stored is not announced.

        `writing` is the first try where it is under way. False if this attempt of the job is no longer the running one.
        """
        tries = 0
        while True:
            try:
                return await (writing or self.begin(job, result))
            except sqlite3.Error:
                pause_s = DISK_WAIT_S[min(tries, len(DISK_WAIT_S) - 1)]
                text = "the end of prompt %s could not be stored; next try in %g s"
                log.exception(text, job.id, pause_s, extra=about(job.id))
                tries += 1
                writing = None
                await asyncio.sleep(pause_s)

    def tell(self, job: Job, result: Result) -> None:
        """Tell the terminal event, status, and the owner's `executing` null."""
        last = last_message(result.messages_json)
        if last is not None:
            event, data = last
            audience: Audience = "owner_or_all" if event == "execution_interrupted" else "owner"
            self._publish(event, data, audience=audience, client_id=job.client_id, job_id=job.id, owner=job.owner)
        self.tell_status(job)
        done = f'{{"node": null, "prompt_id": {json.dumps(job.id)}}}'.encode()
        self._publish("executing", done, audience="owner", client_id=job.client_id, job_id=job.id, owner=job.owner)

    def status(self, owner: str | None = None) -> dict[str, object]:
        """The data of a status event: of one owner's jobs, or of all."""
        return {"status": {"exec_info": {"queue_remaining": self._store.remaining(owner)}}}

    def tell_status(self, *changed: Job) -> None:
        """Tell everybody how many jobs wait or run; where these jobs have owners, each of those how many of its own."""
        self._publish("status", self._status_json(None), audience="all")
        for owner in dict.fromkeys([job.owner for job in changed if job.owner]):
            self._publish("status", self._status_json(owner), audience="all", owner=owner)

    def _status_json(self, owner: str | None) -> bytes:
        """The JSON text of `status`: it is told several times for each job."""
        return b'{"status": {"exec_info": {"queue_remaining": %d}}}' % self._store.remaining(owner)


def last_message(messages_json: bytes) -> tuple[str, object] | None:
    """The last of `[[event, data], ...]`; the others are not read where that can be helped."""
    try:
        messages = _MESSAGES.decode(messages_json)
    except msgspec.MsgspecError:  # json.dumps writes NaN, which is no JSON
        read: list[tuple[str, object]] = json.loads(messages_json)
        return (read[-1][0], read[-1][1]) if read else None
    return (messages[-1][0], json.loads(bytes(messages[-1][1]))) if messages else None
