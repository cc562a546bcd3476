"""Requests that came with an Idempotency-Key, and what they were answered. Knows no request and no queue.

Source: draft-ietf-httpapi-idempotency-key-header. A key is kept for KEY_LIFE_MS, or until its job has ended if that is
later, and never more than MOST_KEYS of them.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from executor.queue.database import Database
from executor.queue.job import Job, Key, now_ms

KEY_LIFE_MS = 24 * 3600 * 1000
MOST_KEYS = 100_000

_RECORD = "INSERT OR REPLACE INTO idempotency (owner, key, digest, id, answer, created_ms) VALUES (?, ?, ?, ?, ?, ?)"
_EXPIRED = """
DELETE FROM idempotency WHERE created_ms < ? AND NOT EXISTS (
    SELECT 1 FROM queue WHERE queue.id = idempotency.id AND queue.owner = idempotency.owner
)
"""
_SURPLUS = """
DELETE FROM idempotency
WHERE created_ms <= (SELECT created_ms FROM idempotency ORDER BY created_ms DESC LIMIT 1 OFFSET ?)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a key was used for."""

    digest: str
    answer: dict[str, object]


class Keys:
    """The table of keys of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key: str, owner: str = "") -> Answered | None:
        """What an owner used a key for, None for a new one."""
        query = "SELECT digest, answer FROM idempotency WHERE owner = ? AND key = ?"
        row = await self._database.run(lambda connection: connection.execute(query, (owner, key)).fetchone())
        return None if row is None else Answered(digest=row[0], answer=json.loads(row[1]))

    async def remember(self, key: Key, job: Job) -> None:
        """Note a key whose request was folded into a job that is there already."""
        await self._database.run(lambda connection: self.record(connection, key, job))

    def record(self, connection: sqlite3.Connection, key: Key, job: Job) -> None:
        """Write a key inside the transaction that stores its job, and forget old ones."""
        now = now_ms()
        connection.execute(_EXPIRED, (now - KEY_LIFE_MS,))
        answer = json.dumps(job.answer()).encode()
        connection.execute(_RECORD, (job.owner, key.text, key.digest, job.id, answer, now))
        connection.execute(_SURPLUS, (MOST_KEYS,))
