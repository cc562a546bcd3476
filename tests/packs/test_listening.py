"""What packs hear of: steps of nodes, clients that come and go, the queue from a route."""

from __future__ import annotations

import asyncio
import struct
from uuid import uuid4

from tests.packs.client import Client, node


def steps(count: int = 2) -> dict[str, object]:
    return node("Listening Steps", steps=count, salt=uuid4().hex)


def hears(**more: object) -> dict[str, object]:
    return node("Listening Hears", value=["1", 0], fails=False, **more)


async def notes_of(client: Client, prompt_id: str) -> list[list[object]]:
    """What the handler that hears of every prompt noted of one."""
    async with asyncio.timeout(60):
        while True:
            for notes in await client.get("/listening/heard"):
                if ["start", "1", "running", prompt_id] in notes:
                    return notes
            await asyncio.sleep(0.01)


async def test_a_handler_put_there_at_import_hears_of_every_prompt(client: Client):
    for _ in range(2):
        ran = await client.run({"1": steps(), "2": node("V1 Show", value=["1", 0])})
        prompt_id = ran.entry["prompt"][1]
        notes = await notes_of(client, prompt_id)
        assert notes[:4] == [
            ["start", "1", "running", prompt_id],
            ["update", "1", 1, 2, "running", None],
            ["update", "1", 2, 2, "running", None],
            ["finish", "1", True],
        ]
        assert notes[-2:] == [["finish", "2", True], ["reset"]]


async def test_a_handler_put_there_by_a_node_hears_from_then_on(client: Client):
    ran = await client.run({"1": steps(), "2": hears()})
    assert ran.ok, ran.error
    assert ran.outputs["2"]["before"] == [{"1": "finished", "2": "running"}]
    assert ran.outputs["2"]["notes"] == [[["update", "2", 1, 4, "running", None]]]


async def test_a_handler_of_a_prompt_goes_with_it(client: Client):
    await client.run({"1": steps(), "2": hears()})
    ran = await client.run({"1": steps(), "2": hears()})
    assert ran.outputs["2"]["handlers"] == [["mine", "notes of every prompt"]]


async def test_a_handler_that_fails_ends_nothing(client: Client):
    ran = await client.run({"1": steps(), "2": {**hears(), "inputs": {"value": ["1", 0], "fails": True}}})
    assert ran.ok, ran.error


async def test_clients_are_seen_with_their_feature_flags(client: Client, packs_server: str):
    async with Client(packs_server) as other:
        await other._ws.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        async with asyncio.timeout(60):
            while (told := (await client.get("/listening/clients")).get(other.id)) != {
                "feature_flags": {"supports_preview_metadata": True}
            }:
                assert told in (None, {"feature_flags": {}})
    async with asyncio.timeout(60):
        while other.id in await client.get("/listening/clients"):
            await asyncio.sleep(0.01)
    assert client.id in await client.get("/listening/clients")


async def test_one_client_is_written_to_through_its_socket(client: Client, packs_server: str):
    async with Client(packs_server) as other:
        async with asyncio.timeout(60):
            while client.id not in await client.get("/listening/clients"):
                await asyncio.sleep(0.01)
        assert (await client.post(f"/listening/whisper/{client.id}"))[0] == 200
        await client.heard("binary")
        assert [data for event, data in client.events if event == "listening.whisper"] == [1, 2]
        assert struct.pack(">I", 99) + b"octets" in [data for event, data in client.events if event == "binary"]
        assert "listening.whisper" not in [event for event, _ in other.events]


async def test_a_route_puts_a_prompt_and_reads_the_queue_on_the_loop(client: Client):
    """Putting one asks the packs' hook, which runs on the same loop: neither waits for the other."""
    prompt_id = uuid4().hex
    prompt = {"1": node("Hooking Say", text="please swap")}
    body = {"prompt_id": prompt_id, "prompt": prompt, "client_id": client.id}
    status, told = await client.post("/listening/queue", body)
    assert (status, told["listed"]) == (200, True)
    assert (await client.ended(prompt_id)).ok
