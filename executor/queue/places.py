"""Where every entry of the history stands in lists of jobs: enough to filter, sort and count without the table.

Knows no entries and no database.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Collection, Iterator

import msgspec

from executor.queue.job import EndState


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where an entry stands: times in milliseconds of Unix time and of work.

    `version` grows with every entry that is stored under the same rank: rank and version name one text for ever.
    """

    rank: int
    id: str
    state: EndState
    created_ms: int
    duration_ms: int
    workflow_id: str | None = None
    owner: str = ""
    version: int = 0


class Places:
    """The places of all entries, by rank, and in the order of their creation."""

    def __init__(self) -> None:
        self._by_rank: dict[int, Place] = {}  # in the order of ranks
        self._by_creation: list[tuple[int, int]] = []  # (created_ms, rank), sorted
        self._counts: Counter[EndState] = Counter()

    def __len__(self) -> int:
        return len(self._by_rank)

    def put(self, place: Place) -> None:
        """Add a place, or replace the one of its rank; a new rank is higher than all others."""
        old = self._by_rank.get(place.rank)
        if old is not None:
            self._unlist(old)
        self._by_rank[place.rank] = place
        self._counts[place.state] += 1
        bisect.insort(self._by_creation, (place.created_ms, place.rank))

    def drop(self, rank: int) -> None:
        """Remove the place of a rank, if there is one."""
        place = self._by_rank.pop(rank, None)
        if place is not None:
            self._unlist(place)

    def _unlist(self, place: Place) -> None:
        self._counts[place.state] -= 1
        del self._by_creation[bisect.bisect_left(self._by_creation, (place.created_ms, place.rank))]

    def version_of(self, rank: int) -> int:
        """The version of the entry at a rank, -1 if there is none."""
        place = self._by_rank.get(rank)
        return -1 if place is None else place.version

    def trim(self, most: int) -> None:
        """Drop the oldest beyond `most`."""
        while len(self._by_rank) > most:
            self.drop(next(iter(self._by_rank)))

    # ---------------------------------------------------------------- lists

    def page(
        self,
        states: Collection[EndState],
        workflow_id: str | None,
        *,
        by_duration: bool,
        descending: bool,
        limit: int,
        owner: str | None = None,
    ) -> tuple[list[Place], int]:
        """The first `limit` of those that ended so, sorted by creation or duration; and how many there are in all.

        With an `owner` only that one's.
        """
        found: list[Place] = []
        if workflow_id is None and owner is None and not by_duration:
            for place in self._in_order(descending):
                if len(found) >= limit:
                    break
                if place.state in states:
                    found.append(place)
            return found, sum(self._counts[state] for state in states)
        found = [
            place
            for place in self._in_order(descending)
            if place.state in states
            and (workflow_id is None or place.workflow_id == workflow_id)
            and (owner is None or place.owner == owner)
        ]
        if by_duration:
            found.sort(key=lambda place: (place.duration_ms, place.rank), reverse=descending)
        return found[:limit], len(found)

    def _in_order(self, descending: bool) -> Iterator[Place]:
        keys = reversed(self._by_creation) if descending else iter(self._by_creation)
        return (self._by_rank[rank] for _, rank in keys)
