"""The history's newest entries in memory: always the same answers as the table's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.queue import history
from executor.queue.job import Result, history_json, make_job
from executor.queue.store import Store


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """A store that remembers three entries' texts."""
    monkeypatch.setattr(history, "RECENT_ENTRIES", 3)
    store = Store(tmp_path / "queue.sqlite3", history_limit=6)
    await store.open()
    yield store
    await store.close()


async def end(store, *ids):
    for prompt_id in ids:
        await store.add(make_job(prompt_id=prompt_id, number=0, prompt={}, targets=[]))
        job = store.claim("w")
        await store.finish(job, Result(state="succeeded"))


async def check(store):
    """Every window is the same from memory and from the table."""
    for max_items in (None, 0, 1, 2, 3, 4, 9):
        for offset in (-1, 0, 1, 4):
            entries = await store.history(max_items, offset)
            assert await store.past.text(max_items, offset) == history_json(entries), (max_items, offset)
    for prompt_id in "abcdefgh":
        entry = await store.history_of(prompt_id)
        assert await store.past.text_of(prompt_id) == history_json([entry] if entry else [])
    places, total = store.past.places(["succeeded"], None, by_duration=False, descending=True, limit=99)
    assert {place.id for place in places} == {entry.job.id for entry in await store.history()}
    assert total == len(places)
    found = await store.past.at([place.rank for place in places])
    assert {place.rank: place.id for place in places} == {rank: entry.job.id for rank, entry in found.items()}


@pytest.mark.parametrize("ended", ["", "a", "abc", "abcd", "abcdefgh", "aba", "abcda", "abcdd"])
async def test_memory_and_table_agree(store, ended):
    await end(store, *ended)
    await check(store)


@pytest.mark.parametrize("gone", ["a", "d", "abcd", "bcd"])
async def test_they_agree_after_entries_were_deleted(store, gone):
    await end(store, *"abcd")
    await store.delete_history(gone)
    await check(store)
    await end(store, *"ae")
    await check(store)


async def test_they_agree_after_history_was_cleared(store):
    await end(store, *"abcd")
    await store.clear_history()
    await check(store)
    await end(store, *"ea")
    await check(store)


async def test_they_agree_after_a_restart(store, tmp_path):
    await end(store, *"abcde")
    await store.close()
    await store.open()
    await check(store)
    await end(store, "f")
    await check(store)


async def test_entries_beyond_the_bytes_are_read_from_the_table(store, monkeypatch):
    monkeypatch.setattr(history, "RECENT_BYTES", 10)
    await end(store, *"abca")
    await check(store)


async def test_recent_entries_are_read_without_the_table(store):
    await end(store, *"abcd")
    await store.close()
    assert list(json.loads(await store.past.text(2))) == ["c", "d"]
    assert list(json.loads(await store.past.text_of("c"))) == ["c"]
