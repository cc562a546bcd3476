"""Entries of the history that are too old or too large: the same ones are gone from table and memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.keeping import keep_of
from executor.queue import ageing, history
from executor.queue import store as stores
from executor.queue.job import Result, make_job
from executor.queue.store import Store

DAY_MS = 86_400_000
NOW_MS = 1000 * DAY_MS


class Past:
    """A store whose jobs end when a test says."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self._patch = store, monkeypatch

    async def end(self, prompt_id: str, days: float, nbytes: int = 100) -> None:
        """A job that ended so many days ago and showed about so many bytes."""
        self._patch.setattr(stores, "now_ms", lambda: int(NOW_MS - days * DAY_MS))
        await self.store.add(make_job(prompt_id=prompt_id, number=0, prompt={}, targets=[]))
        job = self.store.claim("w")
        assert await self.store.finish(job, Result(state="succeeded", outputs_json=b"1" * nbytes))

    async def left(self) -> list[str]:
        """What is left, which memory, table and lists of jobs agree on."""
        left = [entry.job.id for entry in await self.store.history()]
        places, _ = self.store.past.places(["succeeded"], None, by_duration=False, descending=False, limit=99)
        assert sorted(place.id for place in places) == sorted(left)
        text = await self.store.past.text()
        assert [prompt_id for prompt_id in "abcdefgh" if f'"{prompt_id}"'.encode() in text] == sorted(left)
        return left

    async def forget(self, *bounds: str, dry: bool = False) -> list[str]:
        """The ids of what is too much."""
        return [entry.id for entry in await self.store.ageing.forget(keep_of(bounds), NOW_MS, dry=dry)]


@pytest.fixture
async def past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Past]:
    monkeypatch.setattr(history, "RECENT_ENTRIES", 2)
    monkeypatch.setattr(ageing, "STEP", 2)
    store = Store(tmp_path / "queue.sqlite3")
    await store.open()
    yield Past(store, monkeypatch)
    await store.close()


async def test_what_ended_too_long_ago_goes_oldest_first(past):
    for prompt_id, days in zip("abcde", (9, 8, 7.5, 6, 1), strict=True):
        await past.end(prompt_id, days)
    assert await past.forget("7d") == ["a", "b", "c"]
    assert await past.left() == ["d", "e"]


async def test_the_newest_bytes_stay(past):
    for prompt_id, nbytes in zip("abcde", (100, 100, 9000, 3000, 3000), strict=True):
        await past.end(prompt_id, 1, nbytes)
    assert await past.forget("10kB") == ["a", "b", "c"]
    assert await past.left() == ["d", "e"]


async def test_either_bound_suffices_and_each_entry_is_told_once(past):
    await past.end("a", 9, 9000)
    await past.end("b", 1, 9000)
    await past.end("c", 1, 100)
    assert await past.forget("7d", "9kB", dry=True) == ["a", "b"]
    assert await past.forget("7d", "9kB") == ["a", "b"]


async def test_a_dry_round_forgets_nothing(past):
    for prompt_id in "abcde":
        await past.end(prompt_id, 9 - "abcde".index(prompt_id) / 10)
    assert await past.forget("7d", dry=True) == list("abcde")
    assert await past.left() == list("abcde")


async def test_an_id_that_ran_again_counts_by_its_newest_end(past):
    await past.end("a", 9)
    await past.end("a", 1)
    assert await past.forget("7d") == []


async def test_an_entry_that_ended_anew_meanwhile_stays(past):
    await past.end("a", 9)
    (place,), _ = past.store.past.places(["succeeded"], None, by_duration=False, descending=False, limit=9)
    await past.end("a", 1)
    await past.store.past.drop({place.rank: NOW_MS - 9 * DAY_MS})
    assert await past.left() == ["a"]


async def test_without_bounds_nothing_goes(past):
    await past.end("a", 999)
    assert await past.forget() == []
