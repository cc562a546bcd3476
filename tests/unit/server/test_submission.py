"""Packs' hooks on prompts, and packs' wishes of the queue."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from executor.errors import NotReady
from executor.messages import Packs, Request

PATIENCE_S = 60.0


@pytest.fixture
async def site(make_stand, ready_message):
    """A front whose packs have hooks."""
    stand = await make_stand(ready=False)
    stand.engine.tell(msgspec.structs.replace(ready_message, packs=Packs(hooks=True)))
    await stand.front.packs.arrived(PATIENCE_S)
    return stand


async def test_hook_sees_the_body_and_changes_it(site):
    async def hook(body):
        return json.dumps({**body, "prompt_id": "hooked", "extra_data": {"seen": sorted(body)}}).encode()

    site.engine.answers["prompt_hook"] = hook
    assert (await site.submit(client_id="me"))["prompt_id"] == "hooked"
    run = await site.engine.job()
    assert (run.client_id, json.loads(run.extra_json)["seen"]) == ("me", ["client_id", "prompt"])


async def fail(body):
    raise NotReady("not now")


async def nonsense(body):
    return b"[1]"


@pytest.mark.parametrize("hook", [fail, nonsense])
async def test_prompt_goes_on_past_a_hook_that_fails(site, hook, caplog):
    site.engine.answers["prompt_hook"] = hook
    assert (await site.submit(prompt_id="mine"))["prompt_id"] == "mine"
    assert [record.getMessage() for record in caplog.records if "hooks" in record.getMessage()]


async def test_without_hooks_nobody_is_asked(stand):
    await stand.submit()
    assert stand.engine.asked == []


# ---------------------------------------------------------------- wishes


async def wish(stand, kind: str, body: object) -> object:
    """What a worker's wish is answered: the value, or the error's text."""
    stand.engine.tell(Request(id=7, wish=kind, body_json=json.dumps(body).encode()))
    reply = await asyncio.wait_for(stand.engine.replies.get(), PATIENCE_S)
    assert reply.id == 7
    return json.loads(reply.value_json) if reply.error is None else reply.error


async def test_pack_puts_a_prompt_in(stand, graph):
    item = [3, "packs", graph, {"client_id": "me"}, ["2"], {"api_key_comfy_org": "K"}]
    assert await wish(stand, "enqueue", item) == {"prompt_id": "packs", "number": 3, "node_errors": {}}
    run = await stand.engine.job()
    assert (run.targets, run.client_id, json.loads(run.secrets_json)) == (("2",), "me", {"api_key_comfy_org": "K"})


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ([1, "a"], "queue item"),
        ([1, "a", {"1": {"class_type": "Nothing", "inputs": {}}}, {}, ["1"]], "Nothing"),
        ([1, "a", 5, {}, []], "object"),
        ({"prompt": {}}, "queue item"),
    ],
)
async def test_prompt_that_cannot_run_is_refused_with_words(stand, item, words):
    assert words in await wish(stand, "enqueue", item)


async def test_pack_sees_the_queue_as_clients_do(stand):
    await stand.submit(prompt_id="runs")
    await stand.engine.job()
    await stand.submit(prompt_id="waits")
    assert await wish(stand, "queue", None) == await (await stand.get("/queue")).json()


async def test_pack_takes_prompts_out(stand):
    await stand.submit(prompt_id="runs")
    await stand.engine.job()
    await stand.submit(prompt_id="waits")
    assert await wish(stand, "delete", ["waits", "runs", "unknown"]) == ["waits"]


@pytest.mark.parametrize("window", [{}, {"prompt_id": "a"}, {"max_items": 1}, {"offset": 0, "max_items": 1}])
async def test_pack_reads_the_history(stand, window):
    await stand.submit(prompt_id="a")
    await stand.engine.succeed()
    await stand.idle()
    assert await wish(stand, "queue", {"history": window}) == await (await stand.get("/history")).json()


@pytest.mark.parametrize(("kind", "body"), [("queue", {"history": {"offset": "x"}}), ("delete", "x")])
async def test_wish_that_makes_no_sense_is_refused(stand, kind, body):
    assert "must be" in await wish(stand, kind, body)


# ---------------------------------------------------------------- events of packs


async def test_event_without_a_client_goes_to_everybody(stand):
    async with stand.client.ws_connect("/ws?clientId=a") as one, stand.client.ws_connect("/ws?clientId=b") as two:
        stand.engine.emit("pack.news", {"n": 1}, owner=None, audience="all")
        for socket in (one, two):
            await socket.receive_json()
            assert await socket.receive_json() == {"type": "pack.news", "data": {"n": 1}}


async def test_binary_event_of_a_pack_has_its_number(stand):
    async with stand.client.ws_connect("/ws?clientId=a") as one, stand.client.ws_connect("/ws?clientId=b") as two:
        await one.receive_json()
        await two.receive_json()
        stand.engine.raw(100, b"mine", owner="a")
        stand.engine.raw(2, b"all", owner=None)
        assert [await one.receive_bytes(), await one.receive_bytes()] == [b"\0\0\0dmine", b"\0\0\0\x02all"]
        assert await two.receive_bytes() == b"\0\0\0\x02all"
