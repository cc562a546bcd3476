"""Jobs, history and Idempotency-Keys of several owners in one database: each has ids and keys of its own."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.queue.job import Job, Key, Result, make_job
from executor.queue.store import Store


def job_of(owner: str, prompt_id: str, number: int = 1, **more: object) -> Job:
    return make_job(prompt_id=prompt_id, number=number, prompt={"of": owner}, targets=[], owner=owner, **more)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "q.sqlite3")
    await opened.open()
    yield opened
    await opened.close()


async def ended(store: Store, owner: str, prompt_id: str, text: str = "") -> None:
    await store.add(job_of(owner, prompt_id), "w")
    running = next(job for job in store.running(owner) if job.id == prompt_id)
    await store.finish(running, Result(state="succeeded", outputs_json=json.dumps({"text": text}).encode()))


def owners(jobs: list[Job]) -> list[str]:
    return [job.owner for job in jobs]


async def test_the_owner_of_what_waits_and_of_what_ended_outlives_a_restart(tmp_path: Path):
    store = Store(tmp_path / "q.sqlite3")
    await store.open()
    await store.add(job_of("a", "waits"))
    await ended(store, "b", "ran")
    await store.close()
    again = Store(tmp_path / "q.sqlite3")
    await again.open()
    assert owners(again.pending()) == ["a"]
    assert [entry.job.owner for entry in await again.history()] == ["b"]
    assert json.loads(await again.past.text(owner="a")) == {}
    await again.close()


async def test_an_owner_sees_and_counts_only_its_own(store: Store):
    for owner, prompt_id in (("a", "1"), ("b", "2"), ("b", "3")):
        await store.add(job_of(owner, prompt_id))
    assert [job.id for job in store.pending("b")] == ["2", "3"]
    assert (store.remaining(), store.remaining("a"), store.remaining("c")) == (3, 1, 0)
    last = store.pending("b")[-1]
    assert (store.position(last.row), store.position(last.row, "b")) == (3, 2)
    assert store.position(last.row, "a") is None


async def test_deleting_and_clearing_touch_only_the_owners(store: Store):
    for owner in ("a", "b"):
        await store.add(job_of(owner, "same"))
        await store.add(job_of(owner, "other"))
    assert owners(await store.delete(["same"], "b")) == ["b"]
    assert owners(await store.clear("a")) == ["a", "a"]
    assert [(job.owner, job.id) for job in store.pending()] == [("b", "other")]


async def test_an_id_of_another_owner_is_no_entry_and_is_not_replaced(store: Store):
    await ended(store, "a", "same", "of a")
    assert await store.history_of("same", "b") is None
    assert await store.past.text_of("same", "b") == b"{}"
    await ended(store, "b", "same", "of b")
    for owner in ("a", "b"):
        entry = await store.history_of("same", owner)
        assert entry is not None
        assert json.loads(entry.result.outputs_json) == {"text": f"of {owner}"}
        assert f"of {owner}".encode() in await store.past.text_of("same", owner)
    assert b"of b" in await store.past.text_of("same")  # who sees everybody's gets the newest


async def test_history_is_forgotten_owner_by_owner(store: Store):
    for owner in ("a", "b"):
        await ended(store, owner, "same")
        await ended(store, owner, "other")
    await store.delete_history(["same"], "a")
    await store.clear_history("b")
    assert [(entry.job.owner, entry.job.id) for entry in await store.history()] == [("a", "other")]
    assert list(json.loads(await store.past.text())) == ["other"]


async def test_windows_of_the_history_are_windows_of_the_owners(store: Store):
    for number in range(3):
        await ended(store, "a", f"a{number}")
        await ended(store, "b", f"b{number}")
    assert list(json.loads(await store.past.text(2, owner="a"))) == ["a1", "a2"]
    assert list(json.loads(await store.past.text(2, 1, owner="b"))) == ["b1", "b2"]


async def test_windows_that_memory_lacks_come_from_the_table(store: Store, monkeypatch):
    monkeypatch.setattr("executor.queue.history.RECENT_ENTRIES", 2)
    for number in range(4):
        await ended(store, "a", f"a{number}")
        await ended(store, "b", f"b{number}")
    assert list(json.loads(await store.past.text(3, owner="a"))) == ["a1", "a2", "a3"]
    assert list(json.loads(await store.past.text_of("a0", "a"))) == ["a0"]
    assert await store.past.text_of("a0", "b") == b"{}"


async def test_the_same_idempotency_key_of_two_owners_is_two(store: Store):
    key = Key(text="k", digest="d")
    await store.add(job_of("a", "1", digest="d"), key=key)
    assert await store.keys.find("k", "b") is None
    await store.add(job_of("b", "2", digest="d"), key=key)
    answers = [await store.keys.find("k", owner) for owner in ("a", "b")]
    assert [answer and answer.answer["prompt_id"] for answer in answers] == ["1", "2"]


async def test_an_equal_body_of_another_owner_does_not_fold(store: Store):
    await store.add(job_of("a", "same", digest="d"))
    assert store.same("same", "d", "b") is None
    assert store.same("same", "d", "a") is not None
