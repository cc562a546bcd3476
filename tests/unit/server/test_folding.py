"""Requests that repeat others: one run, equal answers."""

from __future__ import annotations

import asyncio

import pytest

from executor.queue import keys
from executor.queue.job import now_ms
from server.folding import digest_of
from tests.unit.server.conftest import GRAPH, READY

KEY = {"Idempotency-Key": "k"}


async def posted(stand, body: dict, headers: dict | None = None) -> tuple[int, dict]:
    async with stand.post("/prompt", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_twenty_equal_requests_with_a_key_are_one_job_with_one_answer(stand):
    answers = await asyncio.gather(*(posted(stand, {"prompt": GRAPH}, KEY) for _ in range(20)))
    assert all(answer == answers[0] and answer[0] == 200 for answer in answers)
    assert stand.front.store.remaining() == 1


async def test_a_key_answers_also_after_its_job_ended(stand):
    first = await posted(stand, {"prompt": GRAPH}, KEY)
    await stand.engine.succeed()
    await stand.idle()
    assert await posted(stand, {"prompt": GRAPH}, KEY) == first
    assert stand.front.store.remaining() == 0


async def test_a_key_with_another_body_is_refused_at_once_and_later(stand):
    bodies = ({"prompt": GRAPH}, {"prompt": GRAPH, "client_id": "me"})
    assert sorted(status for status, _ in await asyncio.gather(*(posted(stand, body, KEY) for body in bodies))) == [
        200,
        409,
    ]
    statuses = {(await posted(stand, body, KEY))[0] for body in bodies}
    assert statuses == {200, 409}


async def test_keys_are_kept_over_a_restart(make_stand):
    before = await make_stand()
    first = await posted(before, {"prompt": GRAPH}, KEY)
    await before.stop()
    after = await make_stand()
    assert await posted(after, {"prompt": GRAPH}, KEY) == first
    assert after.front.store.remaining() == 1


async def test_a_refused_request_leaves_its_key_free(stand):
    assert (await posted(stand, {"prompt": {}}, KEY))[0] == 400
    assert (await posted(stand, {"prompt": GRAPH}, KEY))[0] == 200


async def test_a_key_is_forgotten_when_its_time_is_over_and_its_job_ended(stand, monkeypatch):
    await posted(stand, {"prompt": GRAPH}, KEY)
    late_ms = now_ms() + keys.KEY_LIFE_MS + 1
    monkeypatch.setattr(keys, "now_ms", lambda: late_ms)
    await posted(stand, {"prompt": GRAPH}, {"Idempotency-Key": "second"})
    assert await stand.front.store.keys.find("k") is not None
    await stand.engine.succeed()
    async with asyncio.timeout(60):
        while stand.front.store.remaining() > 1:
            await asyncio.sleep(0)
    await posted(stand, {"prompt": GRAPH}, {"Idempotency-Key": "third"})
    assert await stand.front.store.keys.find("k") is None


async def test_only_so_many_keys_are_kept(stand, monkeypatch):
    monkeypatch.setattr(keys, "MOST_KEYS", 2)
    times = iter(range(now_ms(), now_ms() + 3))
    monkeypatch.setattr(keys, "now_ms", lambda: next(times))
    for text in "abc":
        await posted(stand, {"prompt": GRAPH}, {"Idempotency-Key": text})
    assert [await stand.front.store.keys.find(text) is not None for text in "abc"] == [False, True, True]


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_what_can_be_no_key_is_refused(stand, key):
    assert (await posted(stand, {"prompt": GRAPH}, {"Idempotency-Key": key}))[0] == 400


async def test_an_equal_prompt_id_folds_while_its_job_waits_or_runs(stand):
    body = {"prompt": GRAPH, "prompt_id": "mine"}
    answers = await asyncio.gather(*(posted(stand, body) for _ in range(5)))
    await stand.engine.job()
    answers.append(await posted(stand, body))
    assert all(answer == answers[0] for answer in answers)
    assert stand.front.store.remaining() == 1


async def test_a_prompt_id_folds_also_after_a_restart(make_stand):
    before = await make_stand(ready=False)
    body = {"prompt": GRAPH, "prompt_id": "mine"}
    before.engine.tell(READY)
    first = await posted(before, body)
    await before.stop()
    after = await make_stand()
    assert await posted(after, body) == first


async def test_a_prompt_id_with_another_body_is_queued(stand):
    await posted(stand, {"prompt": GRAPH, "prompt_id": "mine"})
    assert (await posted(stand, {"prompt": GRAPH, "prompt_id": "mine", "number": 3}))[0] == 200
    assert stand.front.store.remaining() == 2


async def test_a_prompt_id_that_has_ended_runs_again(stand):
    body = {"prompt": GRAPH, "prompt_id": "mine"}
    await posted(stand, body)
    await stand.engine.succeed()
    await stand.idle()
    assert (await posted(stand, body))[0] == 200
    assert stand.front.store.remaining() == 1


async def test_a_new_key_for_a_waiting_prompt_id_is_remembered(stand):
    body = {"prompt": GRAPH, "prompt_id": "mine"}
    first = await posted(stand, body)
    assert await posted(stand, body, KEY) == first
    assert (await posted(stand, {"prompt": GRAPH}, KEY))[0] == 409


async def test_the_order_of_keys_makes_no_other_body():
    assert digest_of({"a": 1, "b": {"c": 2, "d": 3}}) == digest_of({"b": {"d": 3, "c": 2}, "a": 1})


async def test_a_removed_prompt_id_no_longer_folds(stand):
    await posted(stand, {"prompt": GRAPH})
    await posted(stand, {"prompt": GRAPH, "prompt_id": "mine"})
    await stand.front.dispatcher.delete(["mine"])
    await posted(stand, {"prompt": GRAPH, "prompt_id": "mine"})
    assert stand.front.store.remaining() == 2
