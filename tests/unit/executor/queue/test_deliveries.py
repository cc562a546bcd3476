"""Deliveries: there exactly where an end is there, and no longer than they are of use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from executor.queue import deliveries
from executor.queue.job import Hook, Job, Result, make_job, now_ms
from executor.queue.store import Store

HOOK = Hook(url="https://example.org/hook", own_secret=True, secret="a secret of some length")


def job(prompt_id: str = "p", **more: object) -> Job:
    return make_job(prompt_id=prompt_id, number=0, prompt={}, targets=["1"], **{"hook": HOOK, **more})


@pytest.fixture
async def store():
    store = Store()
    await store.open()
    yield store
    await store.close()


async def end(store: Store, job: Job) -> None:
    stored = await store.add(job, "w")
    assert await store.finish(stored, Result(state="succeeded"))


async def test_an_end_and_its_delivery_come_together_or_not_at_all(store, monkeypatch):
    stored = await store.add(job(), "w")
    monkeypatch.setattr(store.past, "record", lambda connection, entry: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await store.finish(stored, Result(state="succeeded"))
    assert store.deliveries.waiting() == []
    monkeypatch.undo()
    assert await store.finish(stored, Result(state="succeeded"))
    (delivery,) = store.deliveries.waiting()
    assert (delivery.prompt_id, delivery.event, delivery.secret) == ("p", "succeeded", HOOK.secret)


async def test_a_body_that_cannot_be_made_keeps_no_job_from_ending(store):
    store.deliveries.compose = lambda job, entry, ended_ms: 1 / 0
    await end(store, job())
    (delivery,) = store.deliveries.waiting()
    assert b'"prompt_id": "p"' in await store.deliveries.body(delivery)


async def test_a_file_keeps_them_without_their_secrets(tmp_path: Path):
    first = Store(tmp_path / "queue.sqlite3")
    await first.open()
    await end(first, job())
    await first.add(job("waits"))
    (before,) = first.deliveries.waiting()
    await first.close()
    second = Store(tmp_path / "queue.sqlite3")
    await second.open()
    assert second.deliveries.waiting() == [replace(before, secret=None)]
    (waiting,) = second.pending()
    assert waiting.hook == replace(HOOK, secret=None)
    await second.close()


async def test_of_an_owners_job_others_learn_nothing(store):
    await end(store, job(owner="me"))
    (delivery,) = store.deliveries.waiting()
    at = delivery.created_ms
    assert store.deliveries.of("p", "me", at) == store.deliveries.of("p", None, at) == [delivery]
    assert store.deliveries.of("p", "you", at) == store.deliveries.of("p", "me", at + 1) == []


async def test_what_is_over_loses_its_body_and_is_forgotten_later(store, monkeypatch):
    monkeypatch.setattr(deliveries, "LOOK_EACH", 1)
    await end(store, job())
    await end(store, job("other"))
    over, waits = store.deliveries.waiting()
    await store.deliveries.settle(replace(over, state="delivered", tries=1, status=204))
    assert await store.deliveries.body(over) == b""
    late_ms = now_ms() + deliveries.KEEP_MS + 1
    monkeypatch.setattr(deliveries, "now_ms", lambda: late_ms)
    await store.deliveries.settle(replace(waits, tries=1, status=500))
    assert store.deliveries.of("p", None, over.created_ms) == []
    assert [each.id for each in store.deliveries.waiting()] == [waits.id]


async def test_only_so_many_that_are_over_are_kept(store, monkeypatch):
    monkeypatch.setattr(deliveries, "LOOK_EACH", 1)
    monkeypatch.setattr(deliveries, "MOST_KEPT", 1)
    for name in ("a", "b"):
        await end(store, job(name))
    for delivery in store.deliveries.waiting():
        await store.deliveries.settle(replace(delivery, state="given_up"))
    assert len(store.deliveries._known) == 1
