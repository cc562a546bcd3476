"""GET and POST /queue, POST /interrupt, POST /free."""

from __future__ import annotations

import pytest


async def test_lists_running_and_pending_items(stand, graph):
    await stand.submit(prompt_id="a", client_id="me")
    await stand.engine.job()
    await stand.submit(prompt_id="b", number=3)
    assert await (await stand.get("/queue")).json() == {
        "queue_running": [[0, "a", graph, {"client_id": "me"}, ["2"]]],
        "queue_pending": [[3.0, "b", graph, {}, ["2"]]],
    }


async def test_items_start_with_the_id_where_the_flag_says_so(make_stand):
    stand = await make_stand(queue_items="id-first")
    await stand.submit(prompt_id="a")
    await stand.engine.job()
    ((prompt_id, number, time),) = (await (await stand.get("/queue")).json())["queue_running"]
    assert (prompt_id, number) == ("a", 0)
    assert time == stand.front.store.running()[0].created_ms // 1000


async def test_pending_items_come_in_the_order_they_run(stand):
    await stand.submit(prompt_id="running")
    await stand.engine.job()
    for name, number in (("late", 9), ("early", -9), ("middle", 1)):
        await stand.submit(prompt_id=name, number=number)
    pending = (await (await stand.get("/api/queue")).json())["queue_pending"]
    assert [item[1] for item in pending] == ["early", "middle", "late"]


async def test_every_change_shows_at_once(stand):
    async def shown() -> list[str]:
        body = await (await stand.get("/queue")).json()
        return [item[1] for item in body["queue_running"]] + ["|"] + [item[1] for item in body["queue_pending"]]

    assert await shown() == ["|"]
    await stand.submit(prompt_id="a")
    await stand.engine.job()
    assert await shown() == ["a", "|"]
    await stand.submit(prompt_id="b")
    assert await shown() == ["a", "|", "b"]
    await stand.post("/queue", json={"delete": ["b"]})
    assert await shown() == ["a", "|"]
    stand.engine.given.set()
    await stand.engine.succeed()
    await stand.idle()
    assert await shown() == ["|"]


async def test_delete_removes_waiting_prompts_only(stand):
    await stand.submit(prompt_id="running")
    await stand.engine.job()
    await stand.submit(prompt_id="a")
    answer = await stand.post("/queue", json={"delete": ["running", "a", "unknown"]})
    assert (answer.status, await answer.text()) == (200, "")
    assert [job.id for job in stand.front.store.running()] == ["running"]
    assert stand.front.store.pending() == []


async def test_clear_empties_what_waits(stand):
    await stand.submit()
    await stand.engine.job()
    await stand.submit()
    await stand.post("/queue", json={"clear": True})
    assert stand.front.store.remaining() == 1


@pytest.mark.parametrize("body", ["x", "[]", '{"delete": "a"}', '{"delete": [{}]}'])
async def test_unreadable_request_is_refused(stand, body):
    assert (await stand.post("/queue", data=body)).status == 400


@pytest.mark.parametrize("body", [b"", b"{broken", b"[]", b"{}", b'{"prompt_id": "a"}'])
async def test_interrupt_stops_the_running_prompt(stand, body):
    await stand.submit(prompt_id="a")
    await stand.engine.job()
    answer = await stand.post("/interrupt", data=body)
    assert (answer.status, await answer.text()) == (200, "")
    assert stand.engine.interrupted == ["a"]


async def test_interrupt_of_another_prompt_does_nothing(stand):
    await stand.submit(prompt_id="a")
    await stand.engine.job()
    await stand.post("/interrupt", json={"prompt_id": "b"})
    assert stand.engine.interrupted == []


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({}, []),
        ({"unload_models": True}, [(True, False)]),
        ({"free_memory": True}, [(True, True)]),
        ({"unload_models": "true"}, [(True, False)]),  # any value that Python counts as true, as ComfyUI
        ({"unload_models": False, "free_memory": None}, []),
    ],
)
async def test_free_is_handed_to_the_workers(stand, body, asked):
    answer = await stand.post("/free", json=body)
    assert (answer.status, await answer.text()) == (200, "")
    assert stand.engine.freed == asked


@pytest.mark.parametrize("body", ["", "[]", '{"free_memory": [true]}'])
async def test_unreadable_free_is_refused(stand, body):
    assert (await stand.post("/free", data=body)).status == 400
