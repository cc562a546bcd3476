"""What about fifty public clients rely on, a section for each numbered line of reference/client_expectations.md."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

PATIENCE_S = 300.0


class Caller:
    """A client with a session of its own; `sid` is its id on the websocket."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.sid = uuid.uuid4().hex

    async def get(self, path: str, **query: str) -> object:
        """The JSON of a route that answers 200."""
        async with self.session.get(path, params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def submit(self, graph: dict, **fields: object) -> str:
        """Queue a graph as this client and return the id."""
        body = {"prompt": graph, "client_id": self.sid, **fields}
        async with self.session.post("/prompt", json={key: value for key, value in body.items() if value}) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["prompt_id"]

    async def listen(self) -> Ear:
        """Open the websocket."""
        socket = await self.session.ws_connect("/ws", params={"clientId": self.sid}, max_msg_size=0)
        ear = Ear(socket)
        await ear.until("status")
        return ear

    async def ended(self, prompt_id: str) -> dict:
        """The history entry of a prompt, once it is there."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await self.get(f"/history/{prompt_id}")):
                await asyncio.sleep(0.02)
        return found[prompt_id]

    async def run(self, graph: dict, **fields: object) -> dict:
        """Queue a graph and return its history entry."""
        return await self.ended(await self.submit(graph, **fields))

    async def upload(self, body: object, name: str, **fields: str) -> dict:
        """Upload a file and return the answer."""
        form = aiohttp.FormData()
        form.add_field("image", body, filename=name)
        for key, value in fields.items():
            form.add_field(key, value)
        async with self.session.post("/upload/image", data=form) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()


class Ear:
    """A websocket; `heard` holds every frame: (type, data) of texts, ("binary", bytes) of others."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard: list[tuple[str, object]] = []
        self.texts: list[str] = []

    async def hear(self) -> tuple[str, object]:
        """The next frame."""
        message = await self.socket.receive(PATIENCE_S)
        if message.type is aiohttp.WSMsgType.BINARY:
            self.heard.append(("binary", message.data))
        else:
            assert message.type is aiohttp.WSMsgType.TEXT, message
            event = json.loads(message.data)
            self.texts.append(message.data)
            self.heard.append((event["type"], event["data"]))
        return self.heard[-1]

    async def until(self, kind: str, **data: object) -> object:
        """The data of the next frame of that type with those values."""
        while True:
            heard, value = await self.hear()
            if heard == kind and all(value.get(key, ...) == wanted for key, wanted in data.items()):
                return value

    async def done(self, prompt_id: str) -> None:
        """Hear until the last word of a prompt."""
        await self.until("executing", node=None, prompt_id=prompt_id)

    def kinds(self, prompt_id: str) -> list[str]:
        """The types of the text frames of a prompt, in order."""
        return [kind for kind, data in self.heard if isinstance(data, dict) and data.get("prompt_id") == prompt_id]


@pytest.fixture
async def caller(url: str) -> AsyncIterator[Caller]:
    """A client of the server."""
    async with aiohttp.ClientSession(url) as session:
        yield Caller(session)


@pytest.fixture
async def other(url: str) -> AsyncIterator[Caller]:
    """A second client."""
    async with aiohttp.ClientSession(url) as session:
        yield Caller(session)


def picture(size: int = 8, prefix: str = "x") -> dict:
    """A graph that no cache knows and that saves a picture."""
    color = uuid.uuid4().int % 0xFFFFFF
    empty = {"width": size, "height": size, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": prefix}},
    }


def long_work() -> dict:
    """A graph that keeps the worker busy for seconds, unless it is interrupted."""
    graph = picture(1024)
    last = "2"
    for number in range(60):
        size = 2048 + 8 * (number % 2)
        inputs = {"image": [last, 0], "upscale_method": "lanczos", "width": size, "height": size, "crop": "disabled"}
        last = f"r{number}"
        graph[last] = {"class_type": "ImageScale", "inputs": inputs}
    graph["3"]["inputs"]["images"] = [last, 0]
    return graph


def png(color: int = 7) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2), (color, 0, 0)).save(buffer, "png")
    return buffer.getvalue()


def files(entry: dict) -> list[str]:
    return [image["filename"] for output in entry["outputs"].values() for image in output.get("images", [])]


# ---------------------------------------------------------------- 1. the last word


async def test_1_history_is_readable_at_the_last_word(caller):
    ear = await caller.listen()
    prompt_id = await caller.submit(picture())
    await ear.done(prompt_id)
    assert files((await caller.get(f"/history/{prompt_id}"))[prompt_id])


async def test_1_success_and_every_executed_and_binary_frame_come_before_the_last_word(caller):
    ear = await caller.listen()
    graph = picture()
    graph["4"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": ["2", 0]}}
    prompt_id = await caller.submit(graph)
    await ear.done(prompt_id)
    kinds = [kind for kind, _ in ear.heard]
    assert {"executed", "binary", "execution_success"} <= set(kinds)
    assert ear.kinds(prompt_id)[-2:] == ["execution_success", "executing"]
    assert max(len(kinds) - 1 - kinds[::-1].index(kind) for kind in ("executed", "binary")) < len(kinds) - 1


async def test_1_nothing_of_a_prompt_follows_its_last_word(caller):
    ear = await caller.listen()
    first = await caller.submit(picture())
    await ear.done(first)
    told = len(ear.heard)
    second = await caller.submit(picture())
    await ear.done(second)
    assert first not in json.dumps([frame for frame in ear.heard[told:] if frame[0] != "binary"])


# ---------------------------------------------------------------- 2. cached runs


async def test_2_a_cached_run_tells_the_earlier_files(caller):
    graph = picture()
    saved = files(await caller.run(graph))
    ear = await caller.listen()
    again = await caller.submit(graph)
    executed = await ear.until("executed", prompt_id=again)
    await ear.done(again)
    assert [image["filename"] for image in executed["output"]["images"]] == saved
    assert files(await caller.ended(again)) == saved


# ---------------------------------------------------------------- 3. content types


@pytest.mark.parametrize("content_type", ["", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
@pytest.mark.parametrize("path", ["/prompt", "/queue", "/history", "/interrupt", "/free", "/settings"])
async def test_3_json_is_read_whatever_its_content_type(caller, path, content_type):
    bodies = {
        "/prompt": {"prompt": picture()},
        "/queue": {"delete": ["x"]},
        "/history": {"delete": ["x"]},
        "/interrupt": {"prompt_id": "x"},
        "/free": {"unload_models": False},
        "/settings": {"a": 1},
    }
    skipped = () if content_type else ("Content-Type",)
    headers = {"Content-Type": content_type} if content_type else {}
    body = json.dumps(bodies[path]).encode()
    async with caller.session.post(path, data=body, headers=headers, skip_auto_headers=skipped) as answer:
        assert answer.status == 200, await answer.text()


# ---------------------------------------------------------------- 4. queue or history


async def test_4_an_unknown_id_has_an_empty_history(caller):
    assert await caller.get(f"/history/{uuid.uuid4()}") == {}


async def test_4_a_prompt_is_in_the_queue_or_in_history_and_whole_there(caller):
    for _ in range(5):
        prompt_id = await caller.submit(picture())
        async with asyncio.timeout(PATIENCE_S):
            while prompt_id in json.dumps(await caller.get("/queue")):
                pass
        entry = (await caller.get(f"/history/{prompt_id}"))[prompt_id]
        assert (entry["status"]["completed"], len(files(entry))) == (True, 1)


# ---------------------------------------------------------------- 5. queue items


async def test_5_queue_items_and_history_hold_the_same_five_values(caller):
    blocking = await caller.submit(long_work())
    graph = picture()
    prompt_id = await caller.submit(graph, number=5, extra_data={"note": 1})
    queue = await caller.get("/queue")
    await caller.session.post("/interrupt")
    (item,) = [item for item in queue["queue_pending"] if item[1] == prompt_id]
    assert (item[0], item[2], item[3]["note"], item[4]) == (5, graph, 1, ["3"])
    assert (await caller.ended(prompt_id))["prompt"] == item
    assert not (await caller.ended(blocking))["status"]["completed"]


# ---------------------------------------------------------------- 6. status


async def test_6_status_on_connect_counts_the_running_prompt_and_names_the_session(caller):
    prompt_id = await caller.submit(long_work())
    ear = Ear(await caller.session.ws_connect("/ws", params={"clientId": caller.sid}))
    kind, data = await ear.hear()
    await caller.session.post("/interrupt")
    await caller.ended(prompt_id)
    assert (kind, data["sid"], data["status"]["exec_info"]["queue_remaining"]) == ("status", caller.sid, 1)


async def test_6_status_falls_to_zero_when_history_is_written(caller):
    ear = await caller.listen()
    prompt_id = await caller.submit(picture())
    await ear.until("status", status={"exec_info": {"queue_remaining": 0}})
    assert prompt_id in await caller.get(f"/history/{prompt_id}")


# ---------------------------------------------------------------- 7. validation


async def refused(caller: Caller, graph: dict, status: int = 400) -> dict:
    async with caller.session.post("/prompt", json={"prompt": graph}) as answer:
        assert answer.status == status
        return await answer.json()


async def test_7_a_refusal_names_error_and_nodes(caller):
    graph = picture()
    del graph["1"]["inputs"]["width"]
    body = await refused(caller, graph)
    assert set(body) == {"error", "node_errors"}
    assert set(body["error"]) == {"type", "message", "details", "extra_info"}
    node = body["node_errors"]["1"]
    assert set(node) == {"errors", "dependent_outputs", "class_type"}
    assert (node["dependent_outputs"], node["class_type"]) == (["3"], "EmptyImage")
    assert set(node["errors"][0]) == {"type", "message", "details", "extra_info"}


async def test_7_a_good_output_runs_beside_a_bad_one(caller):
    graph = picture()
    graph["4"] = {"class_type": "SaveImage", "inputs": {"filename_prefix": "y"}}
    body = await refused(caller, graph, 200)
    assert list(body["node_errors"]) == ["4"]
    assert list((await caller.ended(body["prompt_id"]))["outputs"]) == ["3"]


async def test_7_unreachable_nodes_and_unknown_inputs_are_no_errors(caller):
    graph = picture()
    graph["1"]["inputs"]["upload"] = "image"
    graph["9"] = {"class_type": "ImageInvert", "inputs": {}}
    assert (await refused(caller, graph, 200))["node_errors"] == {}


# ---------------------------------------------------------------- 8. frames


async def test_8_frames_are_spelled_as_json_dumps_spells_them(caller):
    ear = await caller.listen()
    await ear.done(await caller.submit(picture()))
    assert all(text.startswith('{"type": "') and text == json.dumps(json.loads(text)) for text in ear.texts)


async def test_8_no_compression_is_needed(caller):
    socket = await caller.session.ws_connect("/ws", compress=15)
    assert socket.compress == 0


async def test_8_feature_flags_are_answered(caller):
    ear = await caller.listen()
    await ear.socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    assert await ear.until("feature_flags") == await caller.get("/features")


# ---------------------------------------------------------------- 9. paths and answers


@pytest.mark.parametrize("path", ["/queue", "/prompt", "/history", "/models", "/embeddings", "/users", "/features"])
async def test_9_each_path_is_there_with_and_without_api(caller, path):
    assert await caller.get(path) == await caller.get(f"/api{path}")


async def test_9_slashes_of_user_files_may_be_encoded(caller):
    path = aiohttp.client.URL("/userdata/workflows%2Fa%20b%2F%C3%A4.json", encoded=True)
    async with caller.session.post(path, data=b"{}") as answer:
        assert (answer.status, await answer.json()) == (200, "workflows/a b/ä.json")
    async with caller.session.get(path) as answer:
        assert (answer.status, await answer.read()) == (200, b"{}")


@pytest.mark.parametrize("path", ["/queue", "/history", "/object_info/EmptyImage", "/system_stats", "/models/vae"])
async def test_9_unknown_query_parameters_are_ignored(caller, path):
    assert await caller.get(path, rand="0.5", t="1") is not None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/queue", b'{"clear": true}'),
        ("/history", b'{"delete": ["x"]}'),
        ("/free", b'{"unload_models": false}'),
        ("/interrupt", b""),
        ("/interrupt", b"{}"),
    ],
)
async def test_9_commands_are_answered_with_an_empty_body(caller, path, body):
    async with caller.session.post(path, data=body) as answer:
        assert (answer.status, await answer.read()) == (200, b"")


# ---------------------------------------------------------------- 10. /view


async def test_10_view_names_the_file_and_answers_head(caller):
    (name,) = files(await caller.run(picture()))
    async with caller.session.head("/view", params={"filename": name}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Disposition"] == f'filename="{name}"'
        assert answer.headers["Content-Type"] == "image/png"
        assert int(answer.headers["Content-Length"]) > 0


@pytest.mark.parametrize("query", [{}, {"subfolder": ""}, {"subfolder": "", "type": "output"}, {"rand": "0.1"}])
async def test_10_a_picture_at_the_top_needs_no_subfolder(caller, query):
    (name,) = files(await caller.run(picture()))
    async with caller.session.get("/view", params={"filename": name, **query}) as answer:
        assert (answer.status, (await answer.read())[:4]) == (200, b"\x89PNG")


async def test_10_input_and_temp_are_shown(caller):
    name = (await caller.upload(png(), f"{uuid.uuid4().hex}.png"))["name"]
    graph = picture()
    graph["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
    (temp,) = files(await caller.run(graph))
    for filename, root in ((name, "input"), (temp, "temp")):
        async with caller.session.get("/view", params={"filename": filename, "type": root}) as answer:
            assert answer.status == 200


# ---------------------------------------------------------------- 11. uploads


async def test_11_the_answer_names_file_folder_and_type(caller):
    name = f"{uuid.uuid4().hex}.png"
    answer = await caller.upload(png(), name, subfolder="sub", type="temp")
    assert answer == {"name": name, "subfolder": "sub", "type": "temp"}


async def test_11_other_content_gets_a_number_and_the_same_keeps_the_name(caller):
    stem = uuid.uuid4().hex
    names = [(await caller.upload(png(color), f"{stem}.png"))["name"] for color in (1, 2, 1, 2)]
    assert names == [f"{stem}.png", f"{stem} (1).png", f"{stem}.png", f"{stem} (1).png"]


@pytest.mark.parametrize("value", ["true", "1"])
async def test_11_overwrite_replaces_the_file(caller, base: Path, value):
    name = f"{uuid.uuid4().hex}.png"
    await caller.upload(png(1), name)
    assert (await caller.upload(png(2), name, overwrite=value))["name"] == name
    assert (base / "input" / name).read_bytes() == png(2)


async def test_11_the_other_fields_may_be_file_parts(caller, base: Path):
    name = f"{uuid.uuid4().hex}.png"
    form = aiohttp.FormData()
    form.add_field("image", png(), filename=name)
    for key, value in (("type", b"input"), ("subfolder", b"parts"), ("overwrite", b"true")):
        form.add_field(key, value, filename=key, content_type="text/plain")
    async with caller.session.post("/upload/image", data=form) as answer:
        assert (answer.status, await answer.json()) == (200, {"name": name, "subfolder": "parts", "type": "input"})
    assert (base / "input" / "parts" / name).is_file()


async def test_11_chunked_bodies_are_read(caller):
    async def chunks() -> AsyncIterator[bytes]:
        head = '--b\r\nContent-Disposition: form-data; name="image"; filename="chunked.png"\r\n\r\n'
        for part in (head.encode(), png(), b"\r\n--b--\r\n"):
            yield part

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with caller.session.post("/upload/image", data=chunks(), headers=headers) as answer:
        assert (answer.status, (await answer.json())["name"]) == (200, "chunked.png")


# ---------------------------------------------------------------- 12. descriptions


async def test_12_every_class_has_the_keys_that_clients_read(caller):
    keys = {"output_is_list", "output_name", "display_name", "description", "category", "output_node", "input"}
    assert not [name for name, info in (await caller.get("/object_info")).items() if not keys <= set(info)]


async def test_12_a_list_of_choices_stands_first(caller):
    inputs = (await caller.get("/object_info/ImageScale"))["ImageScale"]["input"]["required"]
    assert "lanczos" in inputs["upscale_method"][0]


async def test_12_system_stats_has_an_index_for_each_device(caller):
    stats = await caller.get("/system_stats")
    assert all("index" in device for device in stats["devices"])
    assert stats["devices"]
    assert isinstance(stats["system"]["embedded_python"], bool)


# ---------------------------------------------------------------- 13. ids and reconnects


@pytest.mark.parametrize(
    "chosen", ["a text with spaces", "7", "1f0ad3ea-7c52-4d1b-9c1e-5b8f0a6d2e43", "ünï-çode/slash"]
)
async def test_13_the_client_may_choose_any_id(caller, chosen):
    async with caller.session.post("/prompt", json={"prompt": picture(), "prompt_id": chosen}) as answer:
        assert (await answer.json())["prompt_id"] == chosen
    async with asyncio.timeout(PATIENCE_S):
        while chosen not in (history := await caller.get("/history", max_items="5")):
            await asyncio.sleep(0.02)
    assert history[chosen]["prompt"][1] == chosen


async def test_13_a_reconnected_client_gets_the_frames(caller):
    first = await caller.listen()
    second = await caller.listen()
    prompt_id = await caller.submit(picture())
    await second.done(prompt_id)
    assert "executed" in second.kinds(prompt_id)
    await first.socket.close()
    again = await caller.submit(picture())
    await second.done(again)
    assert "executed" in second.kinds(again)


# ---------------------------------------------------------------- 14. other clients


async def test_14_another_client_hears_nothing_but_status(caller, other):
    ear, others_ear = await caller.listen(), await other.listen()
    prompt_id = await caller.submit(picture())
    await ear.done(prompt_id)
    await others_ear.until("status", status={"exec_info": {"queue_remaining": 0}})
    assert {kind for kind, _ in others_ear.heard} == {"status"}


async def test_14_a_prompt_without_client_id_tells_its_progress_to_all_and_the_rest_to_nobody(caller):
    ear = await caller.listen()
    prompt_id = await caller.submit(picture(), client_id=None)
    await caller.ended(prompt_id)
    await ear.until("status", status={"exec_info": {"queue_remaining": 0}})
    assert set(ear.kinds(prompt_id)) == {"progress_state"}
