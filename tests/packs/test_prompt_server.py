"""What packs do with `PromptServer.instance`: routes, events, hooks, the queue (reference/custom_node_surface.md)."""

from __future__ import annotations

import asyncio
import re
import struct
from uuid import uuid4

import pytest

from tests.packs.client import PATIENCE_S, Client, node
from tests.packs.conftest import until_ready

# ---------------------------------------------------------------- routes


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_route_of_a_pack_answers(client, prefix):
    assert isinstance(await client.get(f"{prefix}/real_ways/waiting"), list)


async def test_route_releases_a_waiting_node(client):
    """The pack's route and its running node share memory."""
    node_id = uuid4().hex
    status, answer = await client.submit({node_id: node("RealWays Chooser", options="left,right")})
    assert status == 200
    asked = await client.heard("real_ways.choose")
    assert asked == {"node": node_id, "options": ["left", "right"]}
    assert await client.post(f"/real_ways/choose/{node_id}", {"choice": "right"}) == (200, {"ok": True})
    assert (await client.ended(answer["prompt_id"])).outputs[node_id]["chosen"] == ["right"]


async def test_server_answers_while_a_node_waits_for_a_route(client):
    node_id = uuid4().hex
    _, answer = await client.submit({node_id: node("RealWays Chooser", options="a")})
    await client.heard("real_ways.choose")
    assert node_id in await client.get("/real_ways/waiting")
    assert [item[1] for item in (await client.get("/queue"))["queue_running"]] == [answer["prompt_id"]]
    await client.post(f"/real_ways/choose/{node_id}", {"choice": "a"})
    await client.ended(answer["prompt_id"])


async def test_path_variables_and_queries_arrive(client):
    assert await client.get("/hooking/files/a/b%20c.txt?x=1") == {
        "path": "a/b c.txt",
        "query": {"x": "1"},
        "at": "/hooking/files/a/b c.txt",
    }


async def test_status_of_a_pack_is_its_own(client):
    async with client.session.get("/hooking/missing") as response:
        assert (response.status, await response.text()) == (404, "the pack's own 404")


async def test_static_folder_of_a_pack_is_served(client):
    async with client.session.get("/at_import/static/written.txt") as response:
        assert (response.status, await response.text()) == (200, "static text")


async def test_folder_of_static_routes_is_served(client):
    async with client.session.get("/at_import/inner/loaded.py") as response:
        assert response.status == 200


async def test_unknown_path_is_not_found(client):
    async with client.session.get("/hooking/no_such_route") as response:
        assert response.status == 404


async def test_route_that_raises_is_an_error_and_no_end(client):
    async with client.session.get("/hooking/fails") as response:
        told = await response.json()
    assert (response.status, told["error"]["message"]) == (500, "KeyError: 'no such thing'")
    assert isinstance(await client.get("/real_ways/waiting"), list)


async def restarts(client: Client) -> float:
    async with client.session.get("/metrics") as response:
        return float(re.search(r"^weft_worker_restarts_total\{.*\} (.+)$", await response.text(), re.M)[1])


async def test_route_that_exits_ends_the_worker_which_comes_back(client, packs_server):
    before = await restarts(client)
    async with client.session.post("/hooking/exit") as response:
        assert response.status in (502, 503)
    async with asyncio.timeout(PATIENCE_S):
        while await restarts(client) == before:  # it answers as long as it is there
            await asyncio.sleep(0.01)
    until_ready(packs_server)
    assert (await client.run({"1": node("Hooking Say", text="back")})).ok


async def test_route_may_use_nodes_and_folders_of_the_server(client):
    assert await client.get("/hooking/saves") == {"found": True}


# ---------------------------------------------------------------- events


async def test_event_for_all_reaches_other_clients(client, packs_server):
    async with Client(packs_server) as other:
        await client.run({"1": node("Hooking Broadcasts", text=client.id)})
        assert await other.heard("hooking.all") == {"text": client.id}


async def test_event_for_one_reaches_only_that_one(client, packs_server):
    async with Client(packs_server) as other:
        ran = await client.run({"1": node("Hooking Broadcasts", text=client.id)})
        await other.heard("hooking.all")
        assert "hooking.mine" not in [event for event, _ in other.events]
    assert ran.of("hooking.mine") == [{"text": client.id}]


async def test_event_for_nobody_reaches_nobody(client):
    ran = await client.run({"1": node("Hooking Broadcasts", text=client.id)})
    assert ran.of("hooking.nobody") == []


async def test_event_without_json_is_left_out_and_the_node_goes_on(client):
    ran = await client.run({"1": node("Hooking Broadcasts", text=client.id)})
    assert ran.ok
    assert ran.of("hooking.no_json") == []


async def test_event_of_a_coroutine_arrives(client):
    ran = await client.run({"1": node("Hooking Broadcasts", text=client.id)})
    assert ran.of("hooking.async") == [{}]


async def test_binary_event_of_any_type_arrives(client):
    ran = await client.run({"1": node("Hooking Broadcasts", text=client.id)})
    assert struct.pack(">I", 77) + b"octets" in ran.of("binary")


async def test_picture_arrives_encoded_and_small(client):
    ran = await client.run({"1": node("Hooking Broadcasts", text=client.id)})
    (frame,) = [data for data in ran.of("binary") if data[:4] == struct.pack(">I", 1)]
    image_type, width, height = struct.unpack(">I12x4xII", frame[4:8] + frame[8:24] + frame[24:32])
    assert (image_type, width, height) == (2, 100, 50)


async def test_progress_text_arrives_with_its_node(client):
    ran = await client.run(
        {"1": node("RealWays Steps", steps=int(client.id[:4], 16) % 50 + 1), "2": node("V1 Show", value=["1", 0])}
    )
    texts = [data for data in ran.of("binary") if data[:4] == struct.pack(">I", 3)]
    assert texts[0].endswith(b" steps")


# ---------------------------------------------------------------- prompts


async def test_prompt_hook_changes_a_prompt(client):
    assert (await client.run({"1": node("Hooking Say", text="please swap")})).outputs["1"]["text"] == ["swapped"]


async def test_prompt_hook_that_fails_is_skipped(client):
    ran = await client.run({"1": node("Hooking Say", text="please swap")}, extra_data={"stumble": True})
    assert ran.outputs["1"]["text"] == ["swapped"]


async def test_node_sees_the_queue(client):
    ran = await client.run({"7": node("Hooking Queue", seed=int(client.id[:8], 16))})
    prompt_id = ran.entry["prompt"][1]
    told = ran.outputs["7"]
    assert told["running"] == [prompt_id]
    assert told["current"] == [prompt_id, prompt_id, client.id, "7"]
    assert told["remaining"] == [1]
    assert told["history"] == [True]


async def test_node_queues_a_prompt(client):
    wanted = uuid4().hex
    await client.run({"1": node("Hooking Queues", text="from a node", prompt_id=wanted, take_out=False)})
    assert (await client.ended(wanted)).outputs["1"]["text"] == ["from a node"]


async def test_node_takes_a_waiting_prompt_out(client):
    wanted = uuid4().hex
    ran = await client.run({"1": node("Hooking Queues", text="never", prompt_id=wanted, take_out=True)})
    assert ran.outputs["1"]["taken"] == [True]
    assert await client.get(f"/history/{wanted}") == {}


async def test_queue_is_read_on_the_loop_of_the_routes(client):
    assert await client.get("/hooking/asks_on_loop") == 0


async def test_queue_is_read_in_a_thread_of_a_route(client):
    assert await client.get("/hooking/asks_in_thread") == 0
