"""What ended: the history table, and its newest entries in memory as the JSON text that clients ask for.

Knows no queue. The text of a recent entry is rendered once, and the places of all entries in lists are known, so that
polling touches neither the disk nor another thread. Use it from one event loop.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from executor.queue.database import Database
from executor.queue.job import EndState, HistoryEntry, history_item, history_object, is_unicode
from executor.queue.places import Place, Places
from executor.queue.rows import ENTRY_COLUMNS, Row, entry_of, entry_values

RECENT_ENTRIES = 256
RECENT_BYTES = 32 << 20
_MAX_INT = 2**62

_PLACES = ", ".join("?" * (ENTRY_COLUMNS.count(",") + 1))
_CHANGED = [name for name in ENTRY_COLUMNS.split(", ") if name != "id"]
_RECORD = f"""
INSERT INTO history ({ENTRY_COLUMNS}) VALUES ({_PLACES})
ON CONFLICT (id) DO UPDATE SET ({", ".join(_CHANGED)}) = ({", ".join(f"excluded.{name}" for name in _CHANGED)})
RETURNING rank
"""
_TRIM = "DELETE FROM history WHERE rank <= (SELECT rank FROM history ORDER BY rank DESC LIMIT 1 OFFSET ?)"
_PLACE = {
    "rank": "rank",
    "id": "id",
    "state": "state",
    "created_ms": "created_ms",
    "ended_ms - coalesce(started_ms, ended_ms)": "duration_ms",
    "workflow_id": "workflow_id",
}
"""What a Place is made of: expression in the table -> field."""


class History:
    """The entries of one database, oldest first; more than `limit` are not kept."""

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = max(1, limit)
        self._recent: dict[int, tuple[str, bytes]] = {}  # rank -> id and text, the newest ranks in order
        self._ranks: dict[str, int] = {}  # id -> rank, of the recent ones
        self._recent_bytes = 0
        self._places = Places()
        self._newest = 0
        self._whole = True  # nothing but the recent ones is there

    async def load(self) -> None:
        """Read all places and the newest entries into memory."""
        for row in await self._read(f"SELECT {', '.join(_PLACE)} FROM history ORDER BY rank", ()):
            self._places.put(Place(**dict(zip(_PLACE.values(), row, strict=True))))
        query = f"SELECT rank, {ENTRY_COLUMNS} FROM history ORDER BY rank DESC LIMIT ?"
        for rank, *values in reversed(await self._read(query, (RECENT_ENTRIES + 1,))):
            self.note(rank, entry_of(tuple(values)))

    # ---------------------------------------------------------------- changes

    def record(self, connection: sqlite3.Connection, entry: HistoryEntry) -> int:
        """Write an entry inside a transaction and return its rank; to be noted once that is committed."""
        rank: int = connection.execute(_RECORD, entry_values(entry)).fetchone()[0]
        connection.execute(_TRIM, (self._limit,))
        return rank

    def note(self, rank: int, entry: HistoryEntry) -> None:
        """Remember the text of an entry that was written; an id that is used again keeps its place."""
        self._places.put(_place_of(rank, entry, self._places.version_of(rank) + 1))
        self._places.trim(self._limit)
        if rank <= self._newest and rank not in self._recent:
            return
        self._newest = max(rank, self._newest)
        if rank in self._recent:
            self._recent_bytes -= len(self._recent[rank][1])
        text = history_item(entry)
        self._recent[rank] = entry.job.id, text
        self._ranks[entry.job.id] = rank
        self._recent_bytes += len(text)
        while len(self._recent) > min(RECENT_ENTRIES, self._limit) or self._recent_bytes > RECENT_BYTES:
            self._whole = self._whole and len(self._recent) > self._limit
            self._forget(next(iter(self._recent)))

    async def delete(self, ids: Iterable[str]) -> None:
        """Forget entries; unknown ids are ignored."""
        chosen = [(prompt_id,) for prompt_id in ids if is_unicode(prompt_id)]
        await self._database.run(
            lambda connection: connection.executemany("DELETE FROM history WHERE id = ?", chosen) and None
        )
        for (prompt_id,) in chosen:
            rank = self._places.rank_of(prompt_id)
            if rank is not None:
                self._places.drop(rank)
            if prompt_id in self._ranks:
                self._forget(self._ranks[prompt_id])

    async def clear(self) -> None:
        """Forget every entry."""
        await self._database.run(lambda connection: connection.execute("DELETE FROM history") and None)
        self._recent, self._ranks, self._recent_bytes, self._whole = {}, {}, 0, True
        self._places = Places()

    def _forget(self, rank: int) -> None:
        prompt_id, text = self._recent.pop(rank)
        self._recent_bytes -= len(text)
        del self._ranks[prompt_id]

    # ---------------------------------------------------------------- reading

    async def text(self, max_items: int | None = None, offset: int = -1) -> bytes:
        """The JSON object of entries by id: all, the newest `max_items`, or a window from `offset` on."""
        limit = _MAX_INT if max_items is None else max(0, min(max_items, _MAX_INT))
        if self._whole or (offset < 0 and limit <= len(self._recent)):
            texts = [text for _, text in self._recent.values()]
            start = max(0, len(texts) - limit) if offset < 0 else offset
            return history_object(texts[start : start + limit])
        return history_object(map(history_item, await self.entries(max_items, offset)))

    async def text_of(self, prompt_id: str) -> bytes:
        """The JSON object of one entry, empty if there is none."""
        if prompt_id in self._ranks:
            return history_object([self._recent[self._ranks[prompt_id]][1]])
        entry = None if self._whole else await self.entry(prompt_id)
        return history_object([] if entry is None else [history_item(entry)])

    async def entries(self, max_items: int | None = None, offset: int = -1) -> list[HistoryEntry]:
        """Entries in order of completion: all, the newest `max_items`, or a window from `offset` on."""
        limit = _MAX_INT if max_items is None else max(0, min(max_items, _MAX_INT))
        newest = offset < 0
        order = "DESC" if newest else "ASC"
        query = f"SELECT {ENTRY_COLUMNS} FROM history ORDER BY rank {order} LIMIT ? OFFSET ?"
        rows = await self._read(query, (limit, 0 if newest else min(offset, _MAX_INT)))
        return [entry_of(row) for row in (reversed(rows) if newest else rows)]

    async def entry(self, prompt_id: str) -> HistoryEntry | None:
        """The entry of a prompt, or None."""
        if not is_unicode(prompt_id):
            return None
        rows = await self._read(f"SELECT {ENTRY_COLUMNS} FROM history WHERE id = ?", (prompt_id,))
        return entry_of(rows[0]) if rows else None

    async def ended_since(self, ms: int, most: int) -> list[HistoryEntry]:
        """The entries that ended at that time (ms of Unix time) or later, in the order of their end; the newest `most`.

        They are found by the index of jobs, so that no graph is read but theirs.
        """
        query = f"""
        SELECT {ENTRY_COLUMNS} FROM history WHERE rank IN (
            SELECT rank FROM history INDEXED BY history_jobs WHERE ended_ms >= ? ORDER BY ended_ms DESC LIMIT ?
        ) ORDER BY ended_ms
        """
        return [entry_of(row) for row in await self._read(query, (ms, most))]

    async def _read(self, query: str, values: Row) -> list[Row]:
        return await self._database.run(lambda connection: connection.execute(query, values).fetchall())

    # ---------------------------------------------------------------- as jobs

    def places(
        self,
        states: Collection[EndState],
        workflow_id: str | None,
        *,
        by_duration: bool,
        descending: bool,
        limit: int,
    ) -> tuple[list[Place], int]:
        """The first `limit` entries that ended so, sorted by creation or duration; and how many there are in all."""
        return self._places.page(states, workflow_id, by_duration=by_duration, descending=descending, limit=limit)

    async def at(self, ranks: Sequence[int]) -> dict[int, HistoryEntry]:
        """Entries by rank; those that are gone are left out."""
        query = f"SELECT rank, {ENTRY_COLUMNS} FROM history WHERE rank IN ({', '.join('?' * len(ranks))})"
        return {row[0]: entry_of(row[1:]) for row in await self._read(query, tuple(ranks))}


def _place_of(rank: int, entry: HistoryEntry, version: int) -> Place:
    job = entry.job
    return Place(
        rank=rank,
        id=job.id,
        state=entry.result.state,
        created_ms=job.created_ms,
        duration_ms=entry.ended_ms - (entry.ended_ms if job.started_ms is None else job.started_ms),
        workflow_id=job.workflow_id,
        version=version,
    )
