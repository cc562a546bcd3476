"""Routes of packs through a real front and a real worker: files, websockets, and routes that do not answer."""

from __future__ import annotations

import asyncio
import hashlib
import io
from pathlib import Path

import aiohttp
import pytest

from tests.packs.client import node


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_file_reaches_a_pack_whole(client, prefix):
    body = bytes(range(256)) * 40_000
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(body), filename="large.bin")
    async with client.session.post(f"{prefix}/large_routes/form", data=form) as answer:
        told = await answer.json()
    assert told == {"name": "large.bin", "sha256": hashlib.sha256(body).hexdigest()}


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_websocket_of_a_pack_is_reached(client, prefix):
    async with client.session.ws_connect(f"{prefix}/large_routes/ws") as socket:
        await socket.send_str("you")
        assert (await socket.receive()).data == "heard you"


async def test_route_that_hangs_holds_up_neither_packs_nor_the_server(client):
    hanging = asyncio.create_task(client.session.get("/large_routes/hang"))
    while not await client.get("/large_routes/hanging"):
        await asyncio.sleep(0.02)
    assert await client.get("/prompt") == {"exec_info": {"queue_remaining": 0}}
    hanging.cancel()
    while await client.get("/large_routes/hanging"):
        await asyncio.sleep(0.02)


async def test_route_that_blocks_keeps_no_prompt_from_being_stopped_and_none_from_starting(client, tmp_path: Path):
    slow = {"1": node("V1 Slow", by_bar=True), "2": node("V1 Show", value=["1", 0])}
    _, first = await client.submit(slow)
    await client.heard("progress")
    _, second = await client.submit({"1": node("Large Hold", seconds=0.0, mark=str(tmp_path / "held"))})
    mark = tmp_path / "blocks"
    blocking = asyncio.create_task(client.get(f"/large_routes/block?mark={mark}"))
    while not mark.exists():
        await asyncio.sleep(0.01)
    await client.post("/interrupt")
    stopped = await client.ended(first["prompt_id"])
    assert [event for event, _ in stopped.entry["status"]["messages"]][-1] == "execution_interrupted"
    assert (await client.ended(second["prompt_id"])).ok
    assert mark.exists()
    mark.unlink()
    assert await blocking is True


async def test_pack_does_not_take_the_place_of_a_route_of_the_server(client):
    assert set(await client.get("/queue")) == {"queue_running", "queue_pending"}


async def test_server_answers_while_a_node_holds_the_interpreter(client, tmp_path: Path):
    mark = tmp_path / "held"
    _, answer = await client.submit({"1": node("Large Hold", seconds=1.0, mark=str(mark))})
    while not mark.exists():
        await asyncio.sleep(0.01)
    pack = asyncio.create_task(client.get("/large_routes/hanging"))
    assert (await client.get("/queue"))["queue_running"][0][1] == answer["prompt_id"]
    assert "Large Hold" in await client.get("/object_info")
    assert not pack.done()
    assert await pack == 0
    assert (await client.ended(answer["prompt_id"])).ok
