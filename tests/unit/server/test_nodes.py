"""GET /object_info, and where definitions come from."""

from __future__ import annotations

import asyncio

from server.definitions import SNAPSHOT_NAME
from server.listing import text_with_holes


async def test_lists_every_class(stand):
    answer = await stand.get("/object_info")
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert set(await answer.json()) == {"Source", "Sink", "Pick"}


async def test_one_class(stand):
    assert list(await (await stand.get("/api/object_info/Sink")).json()) == ["Sink"]


async def test_unknown_class_is_an_empty_object(stand):
    answer = await stand.get("/object_info/Nothing")
    assert (answer.status, await answer.json()) == (200, {})


async def lora_choices(stand, path):
    return (await (await stand.get(path)).json())["Pick"]["input"]["required"]["lora"][0]


async def test_file_lists_are_fresh(stand):
    assert await lora_choices(stand, "/object_info") == ["None"]
    folder = stand.base / "models" / "loras"
    folder.mkdir()
    (folder / "new.safetensors").touch()
    assert await lora_choices(stand, "/object_info") == ["None", "new.safetensors"]
    assert await lora_choices(stand, "/object_info/Pick") == ["None", "new.safetensors"]


async def test_body_is_made_once_while_nothing_changes(stand):
    definitions = stand.front.definitions
    assert await definitions.object_info() is await definitions.object_info()


async def test_request_waits_for_the_first_worker(make_stand, ready_message):
    stand = await make_stand(ready=False, startup_wait_s=5)
    asking = asyncio.create_task(lora_choices(stand, "/object_info"))
    await asyncio.sleep(0)
    stand.engine.tell(ready_message)
    assert await asking == ["None"]


async def test_snapshot_answers_before_the_worker_is_ready(make_stand):
    first = await make_stand()
    await first.stop()
    second = await make_stand(ready=False)
    assert set(await (await second.get("/object_info")).json()) == {"Source", "Sink", "Pick"}


async def test_broken_snapshot_is_left_aside(make_stand, tmp_path):
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / SNAPSHOT_NAME).write_bytes(b"\xc1")
    stand = await make_stand(ready=False)
    assert (await stand.get("/object_info")).status == 503


def test_text_without_lists_has_no_holes():
    text = text_with_holes({"a": [1, "\0files:x"]})
    assert (len(text.parts), text.holes) == (1, [])
