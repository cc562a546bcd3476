"""What ended: the history table, and its newest entries in memory as the JSON text that clients ask for.

Knows no queue. The text of a recent entry is rendered once, and the places of all entries in lists are known, so that
polling touches neither the disk nor another thread. Use it from one event loop.

Where keys separate, whoever asks names the `owner`: None asks for everybody's. An id that several owners used means,
where everybody's is asked for, the newest entry; deleting it deletes all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from executor.queue.database import MAX_GROUP, Database
from executor.queue.job import EndState, HistoryEntry, history_item, history_object, is_unicode, shown_to
from executor.queue.places import Place, Places
from executor.queue.rows import ENTRY_COLUMNS, Row, entry_of, entry_values

RECENT_ENTRIES = 256
MOST_AT_ONCE = MAX_GROUP  # entries that may be written and not noted yet
RECENT_BYTES = 32 << 20
_MAX_INT = 2**62

_PLACES = ", ".join("?" * (ENTRY_COLUMNS.count(",") + 1))
_CHANGED = [name for name in ENTRY_COLUMNS.split(", ") if name not in ("owner", "id")]
_RECORD = f"""
INSERT INTO history ({ENTRY_COLUMNS}) VALUES ({_PLACES})
ON CONFLICT (owner, id) DO UPDATE SET ({", ".join(_CHANGED)}) = ({", ".join(f"excluded.{name}" for name in _CHANGED)})
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
    "owner": "owner",
}
"""What a Place is made of: expression in the table -> field."""

Recent = tuple[str, str, bytes, bytes]
"""Owner and id of an entry, its text for the owner, and for who sees everybody's."""


class History:
    """The entries of one database, oldest first; more than `limit` are not kept."""

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = max(1, limit)
        self._recent: dict[int, Recent] = {}  # by rank, the newest ranks in order
        self._ranks: dict[str, dict[str, int]] = {}  # id -> owner -> rank, of the recent ones
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
        if len(self._places) + MOST_AT_ONCE > self._limit:  # the places are those of entries that were noted
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
            self._recent_bytes -= _size(self._recent[rank])
        text, job = history_item(entry), entry.job
        whole = history_item(shown_to(None, entry)) if job.owner else text
        self._recent[rank] = job.owner, job.id, text, whole
        self._ranks.setdefault(job.id, {})[job.owner] = rank
        self._recent_bytes += _size(self._recent[rank])
        while len(self._recent) > min(RECENT_ENTRIES, self._limit) or self._recent_bytes > RECENT_BYTES:
            self._whole = self._whole and len(self._recent) > self._limit
            self._forget(next(iter(self._recent)))

    async def delete(self, ids: Iterable[str], owner: str | None = None) -> None:
        """Forget entries; unknown ids are ignored."""
        chosen = [prompt_id for prompt_id in ids if is_unicode(prompt_id)]
        query = f"DELETE FROM history WHERE id = ?{_of(owner)} RETURNING rank"

        def forget(connection: sqlite3.Connection) -> list[int]:
            gone = (connection.execute(query, (prompt_id, *_owner(owner))).fetchall() for prompt_id in chosen)
            return [rank for rows in gone for (rank,) in rows]

        for rank in await self._database.run(forget):
            self._places.drop(rank)
            if rank in self._recent:
                self._forget(rank)

    async def drop(self, entries: Mapping[int, int]) -> None:
        """Forget entries by their ranks, each only while it is the one that ended at that time (ms of Unix time)."""

        def remove(connection: sqlite3.Connection) -> list[int]:
            query = "DELETE FROM history WHERE rank = ? AND ended_ms = ?"
            return [rank for rank, ended in entries.items() if connection.execute(query, (rank, ended)).rowcount]

        for rank in await self._database.run(remove):
            self._places.drop(rank)
            if rank in self._recent:
                self._forget(rank)

    async def clear(self, owner: str | None = None) -> None:
        """Forget every entry, or those of one owner."""
        if owner is not None:
            await self._clear_of(owner)
            return
        await self._database.run(lambda connection: connection.execute("DELETE FROM history") and None)
        self._recent, self._ranks, self._recent_bytes, self._whole = {}, {}, 0, True
        self._places = Places()

    async def _clear_of(self, owner: str) -> None:
        query = "DELETE FROM history WHERE owner = ? RETURNING rank"
        for (rank,) in await self._read(query, (owner,)):
            self._places.drop(rank)
            if rank in self._recent:
                self._forget(rank)

    def _forget(self, rank: int) -> None:
        recent = self._recent.pop(rank)
        self._recent_bytes -= _size(recent)
        owner, prompt_id, *_ = recent
        del self._ranks[prompt_id][owner]
        if not self._ranks[prompt_id]:
            del self._ranks[prompt_id]

    # ---------------------------------------------------------------- reading

    async def text(self, max_items: int | None = None, offset: int = -1, owner: str | None = None) -> bytes:
        """The JSON object of entries by id: all, the newest `max_items`, or a window from `offset` on."""
        limit = _MAX_INT if max_items is None else max(0, min(max_items, _MAX_INT))
        recent = self._recent.values()
        texts = [whole for *_, whole in recent] if owner is None else [each[2] for each in recent if each[0] == owner]
        if self._whole or (offset < 0 and limit <= len(texts)):
            start = max(0, len(texts) - limit) if offset < 0 else offset
            return history_object(texts[start : start + limit])
        entries = await self.entries(max_items, offset, owner)
        return history_object(history_item(shown_to(owner, entry)) for entry in entries)

    async def text_of(self, prompt_id: str, owner: str | None = None) -> bytes:
        """The JSON object of one entry, empty if there is none."""
        ranks = self._ranks.get(prompt_id, {})
        rank = max(ranks.values(), default=None) if owner is None else ranks.get(owner)
        if rank is not None:
            _, _, own, whole = self._recent[rank]
            return history_object([whole if owner is None else own])
        entry = None if self._whole else await self.entry(prompt_id, owner)
        return history_object([] if entry is None else [history_item(shown_to(owner, entry))])

    async def entries(
        self, max_items: int | None = None, offset: int = -1, owner: str | None = None
    ) -> list[HistoryEntry]:
        """Entries in order of completion: all, the newest `max_items`, or a window from `offset` on."""
        limit = _MAX_INT if max_items is None else max(0, min(max_items, _MAX_INT))
        newest = offset < 0
        order = "DESC" if newest else "ASC"
        query = f"SELECT {ENTRY_COLUMNS} FROM history WHERE TRUE{_of(owner)} ORDER BY rank {order} LIMIT ? OFFSET ?"
        rows = await self._read(query, (*_owner(owner), limit, 0 if newest else min(offset, _MAX_INT)))
        return [entry_of(row) for row in (reversed(rows) if newest else rows)]

    async def entry(self, prompt_id: str, owner: str | None = None) -> HistoryEntry | None:
        """The entry of a prompt, or None."""
        if not is_unicode(prompt_id):
            return None
        query = f"SELECT {ENTRY_COLUMNS} FROM history WHERE id = ?{_of(owner)} ORDER BY rank DESC LIMIT 1"
        rows = await self._read(query, (prompt_id, *_owner(owner)))
        return entry_of(rows[0]) if rows else None

    async def ended_since(self, ms: int, most: int, owner: str | None = None) -> list[HistoryEntry]:
        """The entries that ended at that time (ms of Unix time) or later, in the order of their end; the newest `most`.

        They are found by the index of jobs, so that no graph is read but theirs.
        """
        query = f"""
        SELECT {ENTRY_COLUMNS} FROM history WHERE rank IN (
            SELECT rank FROM history INDEXED BY history_jobs WHERE ended_ms >= ?{_of(owner)}
            ORDER BY ended_ms DESC LIMIT ?
        ) ORDER BY ended_ms
        """
        return [entry_of(row) for row in await self._read(query, (ms, *_owner(owner), most))]

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
        owner: str | None = None,
    ) -> tuple[list[Place], int]:
        """The first `limit` entries that ended so, sorted by creation or duration; and how many there are in all."""
        return self._places.page(
            states, workflow_id, by_duration=by_duration, descending=descending, limit=limit, owner=owner
        )

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
        owner=job.owner,
        version=version,
    )


def _size(recent: Recent) -> int:
    """The bytes that an entry takes; the two texts of nobody's are one."""
    _, _, text, whole = recent
    return len(text) + (0 if whole is text else len(whole))


def _of(owner: str | None) -> str:
    """The condition that an entry is of that owner; none where everybody's are asked for."""
    return "" if owner is None else " AND owner = ?"


def _owner(owner: str | None) -> Row:
    """The value of that condition."""
    return () if owner is None else (owner,)
