"""What is to be told of the ends of jobs, and how far that is: the table of deliveries, mirrored in memory.

Knows no network. A delivery is written in the transaction that ends its job, so that neither is there without the
other. Secrets of jobs live in memory beside it and are gone after a restart.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from executor.queue.database import Database
from executor.queue.job import HistoryEntry, Hook, Job, about, now_ms

log = logging.getLogger("weft.webhooks")

KEEP_MS = 7 * 24 * 3600 * 1000
MOST_KEPT = 10_000
"""How long, and how many of, the deliveries that are over can still be asked for."""
LOOK_EACH = 256
"""Tries between two looks for old ones: a look goes through all."""

State = Literal["waiting", "delivered", "given_up"]
Compose = Callable[[Job, HistoryEntry | None, int], bytes]
"""Makes the body that tells the end of a job (None: it was removed) at a time."""

_COLUMNS = "id, owner, prompt_id, url, own_secret, event, state, tries, next_ms, status, reason, created_ms"
_RECORD = f"INSERT INTO deliveries ({_COLUMNS}, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SETTLE = """
UPDATE deliveries SET state = ?, tries = ?, next_ms = ?, status = ?, reason = ?,
    body = CASE WHEN ? = 'waiting' THEN body ELSE x'' END
WHERE id = ?
"""
_FORGET = "DELETE FROM deliveries WHERE id = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One end of a job for one receiver: where to, how often it was tried, when next, and what came of it.

    `own_secret` tells that the job brought a secret of its own; `secret` is that one while it is remembered.
    """

    id: str
    owner: str
    prompt_id: str
    url: str
    own_secret: bool
    event: str
    state: State = "waiting"
    tries: int = 0
    next_ms: int = 0
    status: int | None = None
    reason: str | None = None
    created_ms: int = 0
    secret: str | None = field(default=None, repr=False)

    def values(self) -> tuple[object, ...]:
        """The values of its columns, but for the body."""
        place = (self.id, self.owner, self.prompt_id, self.url, self.own_secret, self.event)
        return (*place, self.state, self.tries, self.next_ms, self.status, self.reason, self.created_ms)


class Deliveries:
    """The deliveries of one database; use it from one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Delivery] = {}  # by id, the oldest first
        self._of: dict[str, list[str]] = {}  # ids by prompt
        self._settled = 0
        self.everyone: Hook | None = None  # who hears of every job
        self.compose: Compose = _bare
        self.on_new: Callable[[Sequence[Delivery]], None] = _tell_nobody

    async def load(self) -> None:
        """Read what is known into memory, without what is old and over."""
        query = f"SELECT {_COLUMNS} FROM deliveries ORDER BY created_ms"
        for row in await self._database.run(lambda connection: connection.execute(query).fetchall()):
            self._put(_delivery_of(row))
        await self._forget_old()

    # ---------------------------------------------------------------- what ended

    def record(self, connection: sqlite3.Connection, job: Job, entry: HistoryEntry | None) -> list[Delivery]:
        """Write, inside the transaction that ends a job, whom it is told; to be noted once that is committed."""
        event = "removed" if entry is None else entry.result.state
        hooks = [hook for hook in (job.hook, self.everyone) if hook is not None and hook.wants(event)]
        if not hooks:
            return []
        ended_ms = now_ms() if entry is None else entry.ended_ms
        try:
            body = self.compose(job, entry, ended_ms)
        except Exception:  # a body that cannot be made must not keep a job from ending
            log.exception("prompt %s: what webhooks tell of its end could not be made", job.id, extra=about(job.id))
            body = _bare(job, entry, ended_ms)
        new = [_new(job, hook, event, ended_ms) for hook in hooks]
        connection.executemany(_RECORD, [(*delivery.values(), body) for delivery in new])
        return new

    def note(self, new: Sequence[Delivery]) -> None:
        """Take up deliveries that were written."""
        for delivery in new:
            self._put(delivery)
        if new:
            self.on_new(new)

    # ---------------------------------------------------------------- what is under way

    def waiting(self) -> list[Delivery]:
        """Those that are still to be told."""
        return [delivery for delivery in self._known.values() if delivery.state == "waiting"]

    def of(self, prompt_id: str, owner: str | None, created_ms: int) -> list[Delivery]:
        """Those of a job that ended at that time, of one owner or anybody's."""
        found = (self._known[key] for key in self._of.get(prompt_id, ()))
        return [each for each in found if each.created_ms == created_ms and owner in (None, each.owner)]

    async def body(self, delivery: Delivery) -> bytes:
        """The body of one that is still to be told."""
        query = "SELECT body FROM deliveries WHERE id = ?"
        row = await self._database.run(lambda connection: connection.execute(query, (delivery.id,)).fetchone())
        return bytes(row[0])

    async def settle(self, delivery: Delivery) -> None:
        """Store what came of a try."""
        told = delivery
        values = (told.state, told.tries, told.next_ms, told.status, told.reason, told.state, told.id)
        self._known[delivery.id] = delivery if delivery.state == "waiting" else replace(delivery, secret=None)
        await self._database.run(lambda connection: connection.execute(_SETTLE, values) and None)
        self._settled += 1
        if self._settled % LOOK_EACH == 0:
            await self._forget_old()

    async def _forget_old(self) -> None:
        over = [delivery for delivery in self._known.values() if delivery.state != "waiting"]
        old = [*over[: max(0, len(over) - MOST_KEPT)], *_older(over, now_ms() - KEEP_MS)]
        if not old:
            return
        for delivery in old:
            if self._known.pop(delivery.id, None) is not None:
                ids = self._of[delivery.prompt_id]
                ids.remove(delivery.id)
                if not ids:
                    del self._of[delivery.prompt_id]
        rows = [(delivery.id,) for delivery in old]
        await self._database.run(lambda connection: connection.executemany(_FORGET, rows) and None)

    def _put(self, delivery: Delivery) -> None:
        if delivery.id not in self._known:
            self._of.setdefault(delivery.prompt_id, []).append(delivery.id)
        self._known[delivery.id] = delivery


def _new(job: Job, hook: Hook, event: str, ended_ms: int) -> Delivery:
    return Delivery(
        id=f"msg_{uuid.uuid4().hex}",
        owner=job.owner,
        prompt_id=job.id,
        url=hook.url,
        own_secret=hook.own_secret,
        event=event,
        next_ms=ended_ms,
        created_ms=ended_ms,
        secret=hook.secret,
    )


def _delivery_of(row: tuple[object, ...]) -> Delivery:
    names = _COLUMNS.split(", ")
    told = dict(zip(names, row, strict=True))
    return Delivery(**{**told, "own_secret": bool(told["own_secret"])})  # type: ignore[arg-type]  # as written


def _older(deliveries: Iterable[Delivery], ms: int) -> Iterator[Delivery]:
    return (delivery for delivery in deliveries if delivery.created_ms < ms)


def _bare(job: Job, entry: HistoryEntry | None, ended_ms: int) -> bytes:
    return json.dumps({"prompt_id": job.id, "timestamp": ended_ms}).encode()


def _tell_nobody(new: Sequence[Delivery]) -> None:
    """Nobody waits for new deliveries."""
