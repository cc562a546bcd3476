"""Lists of jobs from memory: whatever was added, replaced, dropped and trimmed, they are what a plain sort gives."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from executor.queue.places import Place, Places

STATES = ("succeeded", "failed", "interrupted")
CHANGES = st.tuples(
    st.sampled_from(["new", "again", "drop"]),
    st.integers(0, 9),  # which one
    st.sampled_from(STATES),
    st.integers(0, 5),  # created
    st.integers(0, 3),  # duration
    st.sampled_from([None, "w"]),
)


def played(changes: list, most: int) -> tuple[Places, dict[int, Place]]:
    """Places after the changes, and what should be in them."""
    places, kept = Places(), {}
    for last, (change, which, state, created, duration, workflow) in enumerate(changes):
        ranks = list(kept)
        chosen = ranks[which % len(ranks)] if ranks else None
        if change == "drop" and chosen is not None:
            places.drop(chosen)
            del kept[chosen]
            continue
        rank = chosen if change == "again" and chosen is not None else last
        place = Place(
            rank=rank,
            id=str(rank),
            state=state,
            created_ms=created,
            duration_ms=duration,
            workflow_id=workflow,
            version=places.version_of(rank) + 1,
        )
        places.put(place)
        kept[rank] = place
        places.trim(most)
        for old in sorted(kept)[: max(0, len(kept) - most)]:
            del kept[old]
    return places, kept


@given(st.lists(CHANGES, max_size=30), st.integers(1, 8), st.sets(st.sampled_from(STATES)), st.integers(0, 9))
def test_pages_are_what_sorting_everything_gives(changes, most, states, limit):
    places, kept = played(changes, most)
    assert len(places) == len(kept)
    for workflow, by_duration, descending in product([None, "w"], [False, True], [False, True]):
        wanted = [p for p in kept.values() if p.state in states and workflow in (None, p.workflow_id)]
        wanted.sort(key=lambda p: (p.duration_ms if by_duration else p.created_ms, p.rank), reverse=descending)
        page = places.page(states, workflow, by_duration=by_duration, descending=descending, limit=limit)
        assert page == (wanted[:limit], len(wanted))


def test_a_page_of_one_owner_counts_and_shows_only_that_ones():
    places = Places()
    for rank, owner in enumerate(("a", "b", "", "a"), 1):
        places.put(Place(rank=rank, id="x", state="succeeded", created_ms=rank, duration_ms=1, owner=owner))
    page = places.page(["succeeded"], None, by_duration=False, descending=False, limit=9, owner="a")
    assert ([place.rank for place in page[0]], page[1]) == ([1, 4], 2)


def test_an_entry_that_is_stored_again_is_another_version():
    places = Places()
    for version in (0, 1):
        assert places.version_of(7) == version - 1
        places.put(Place(rank=7, id="a", state="failed", created_ms=1, duration_ms=1, version=version))
    assert len(places) == 1
