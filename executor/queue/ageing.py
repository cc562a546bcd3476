"""Which entries of the history are too old or too large to stay. Knows nothing of files; forgets what it finds.

How many may stay is the history's own limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from executor.keeping import Keep
from executor.queue.database import Database
from executor.queue.history import History
from executor.queue.rows import Row

STEP = 200  # entries in one piece of work

_SIZE = "length(prompt) + length(extra) + length(outputs) + length(meta) + length(messages)"
_AGED = f"""
SELECT rank, id, ended_ms, {_SIZE}, owner FROM history WHERE rank IN (
    SELECT rank FROM history INDEXED BY history_jobs WHERE ended_ms < ? AND ended_ms > ? ORDER BY ended_ms LIMIT ?
) ORDER BY ended_ms
"""
_SIZES = f"SELECT rank, {_SIZE} FROM history WHERE rank < ? ORDER BY rank DESC LIMIT ?"
_OLDEST = f"SELECT rank, id, ended_ms, {_SIZE}, owner FROM history WHERE rank <= ? AND rank > ? ORDER BY rank LIMIT ?"


@dataclass(frozen=True, slots=True)
class Aged:
    """An entry that is too much: its rank, the id of its prompt, when it ended, its bytes in the table, its owner."""

    rank: int
    id: str
    ended_ms: int
    nbytes: int
    owner: str = ""


class Ageing:
    """The entries of one history; use it from the event loop of the history."""

    def __init__(self, database: Database, past: History) -> None:
        self._database = database
        self._past = past

    async def forget(self, keep: Keep, now_ms: int, *, dry: bool = False) -> list[Aged]:
        """Forget what is too much, the oldest first, in small pieces; a `dry` one only tells what that is."""
        gone: list[Aged] = []
        if keep.age_s is not None:
            gone += await self._all(_AGED, int(now_ms - keep.age_s * 1000), dry=dry)
        if keep.nbytes is not None:
            known = {entry.rank for entry in gone}
            found = await self._all(_OLDEST, await self._last_surplus(keep.nbytes), dry=dry)
            gone += [entry for entry in found if entry.rank not in known]
        return gone

    async def _all(self, query: str, bound: int, *, dry: bool) -> list[Aged]:
        """What a query finds up to a bound, page by page; pages begin after the second value of the last entry."""
        found: list[Aged] = []
        last = -1
        while page := [Aged(*row) for row in await self._rows(query, bound, last, STEP)]:
            if not dry:
                await self._past.drop({entry.rank: entry.ended_ms for entry in page})
            found += page
            last = page[-1].ended_ms if query is _AGED else page[-1].rank
        return found

    async def _last_surplus(self, nbytes: int) -> int:
        """The newest rank that is too much, counted in bytes from the newest entry on; 0 for none."""
        rank, total = 2**62, 0
        while page := await self._rows(_SIZES, rank, STEP):
            for rank, size in page:
                total += size
                if total > nbytes:
                    return int(rank)
        return 0

    async def _rows(self, query: str, *values: int) -> list[Row]:
        return await self._database.run(lambda connection: connection.execute(query, values).fetchall())
