"""Prompts that bring files along: addresses and base64 where an uploaded file's name is expected."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from executor.contract.definition import FileChoices, InputDef, NodeDef
from tests.unit.server.conftest import READY, Stand, png

PICTURE = png()
NAME = f"weft_inputs/{hashlib.sha256(PICTURE).hexdigest()}.png"
TEXT = base64.b64encode(PICTURE).decode()
URL = f"data:image/png;base64,{TEXT}"
LISTED = FileChoices(source="input", content="image")


def loader(name: str, option: str, **more: object) -> NodeDef:
    """An output node with one input that takes uploads of a kind, and a text."""
    options = json.dumps({option: True}) if option else None
    file = InputDef(name="file", type="COMBO", kind="required", choices=LISTED, options_json=options, **more)
    text = InputDef(name="text", type="STRING", kind="optional")
    return NodeDef(name=name, display_name=name, category="test", inputs=(file, text), outputs=(), is_output=True)


NODES = (
    *READY.definitions,
    loader("Load", "image_upload", file_check="image"),
    loader("PackLoad", "image_upload"),
    loader("Hear", "audio_upload", file_check="audio"),
    loader("Watch", "video_upload", file_check="video"),
    loader("Choose", ""),
)


@pytest.fixture
async def loading(make_stand) -> Stand:
    """A front whose worker has nodes that load files; it may call this machine."""
    stand = await make_stand(ready=False, allow_outbound=("127.0.0.1",), max_upload_mb=0.5)
    stand.engine.tell(msgspec.structs.replace(READY, definitions=NODES))
    async with asyncio.timeout(60):
        await stand.front.definitions.nodes()
        while stand.engine.state != "idle":
            await asyncio.sleep(0)
    return stand


@pytest.fixture
async def pictures() -> AsyncIterator[str]:
    """The address of a server of pictures, and of other things."""
    bodies = {"/a.png": PICTURE, "/page": b"<html>", "/big.png": PICTURE + bytes(1 << 20)}

    async def answer(request: web.Request) -> web.Response:
        body = bodies.get(request.path)
        return web.Response(status=404) if body is None else web.Response(body=body)

    app = web.Application()
    app.router.add_get("/{name}", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield f"http://127.0.0.1:{server.port}"
    await server.close()


async def post(stand: Stand, value: object, node: str = "Load", **inputs: object) -> tuple[int, dict]:
    prompt = {"1": {"class_type": node, "inputs": {"file": value, **inputs}}}
    async with stand.post("/prompt", json={"prompt": prompt}) as answer:
        return answer.status, await answer.json()


async def sent(stand: Stand) -> dict:
    """The inputs of the job that the worker got."""
    return json.loads((await stand.engine.job()).prompt_json)["1"]["inputs"]


@pytest.mark.parametrize(
    "value",
    [
        URL,
        URL.upper()[:22].lower() + TEXT,
        f"data:;base64,{TEXT}",
        f"data:image/jpeg;name=x.jpg;base64,{TEXT}",
        {"base64": TEXT},
        {"base64": "\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)).rstrip("=")},
        {"base64": URL, "name": "../../evil.sh"},
        {"url": URL},
    ],
)
async def test_base64_becomes_a_file_named_by_its_content(loading, value):
    status, _ = await post(loading, value)
    assert (status, await sent(loading)) == (200, {"file": NAME})
    assert (loading.base / "input" / NAME).read_bytes() == PICTURE


@pytest.mark.parametrize("form", [lambda url: url, lambda url: {"url": url}, lambda url: "HTTP" + url[4:]])
async def test_an_address_is_fetched(loading, pictures, form):
    status, _ = await post(loading, form(f"{pictures}/a.png?token=x"))
    assert (status, await sent(loading)) == (200, {"file": NAME})


async def test_the_history_shows_the_name_and_not_the_content(loading):
    _, told = await post(loading, URL)
    await loading.engine.succeed()
    await loading.idle()
    async with loading.get("/history") as answer:
        text = await answer.text()
    assert NAME in text
    assert TEXT not in text
    assert (await post(loading, NAME))[0] == 200
    assert told["node_errors"] == {}


async def test_a_pack_that_checks_by_its_list_takes_the_stored_name_too(loading):
    assert (await post(loading, URL, "PackLoad"))[0] == 200
    assert (await post(loading, NAME, "PackLoad"))[0] == 200
    status, told = await post(loading, "weft_inputs/none.png", "PackLoad")
    assert (status, "Invalid image file" in json.dumps(told)) == (400, True)


async def test_other_values_stay_as_they_are(loading, make_png):
    (loading.base / "input" / "plain.png").write_bytes(make_png())
    text = f"a text that begins with no address: {URL}"
    assert (await post(loading, "plain.png", text=text))[0] == 200
    assert await sent(loading) == {"file": "plain.png", "text": text}
    assert (await post(loading, "plain.png", text=URL))[0] == 200
    assert (await post(loading, URL, "Choose"))[0] == 400
    assert not (loading.base / "input" / "weft_inputs").exists()


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        ("data:image/png,abc", "input_not_readable", "base64"),
        ("data:image/png;base64,@@@", "input_not_readable", "base64"),
        ({"base64": base64.b64encode(b"<svg onload='x'>").decode()}, "input_not_readable", "no known format"),
        ({"base64": base64.b64encode(PICTURE[:20]).decode()}, "input_not_readable", "not a picture"),
        ({"base64": ""}, "input_not_readable", "no known format"),
        ({"base64": base64.b64encode(b"fLaC" + bytes(60)).decode()}, "input_not_readable", "flac"),
        ("http://169.254.169.254/latest/meta-data", "input_not_fetched", "link-local"),
        ("http://10.0.0.1/a.png", "input_not_fetched", "private"),
        ("https://user@example.org/a.png", "input_not_fetched", "user name"),
        ("/page", "input_not_readable", "no known format"),
        ("/none.png", "input_not_fetched", "404"),
        ("/big.png", "input_not_fetched", "more than"),
    ],
)
async def test_what_cannot_be_had_names_node_input_and_reason(loading, pictures, value, kind, reason):
    status, told = await post(loading, pictures + value if isinstance(value, str) and value[0] == "/" else value)
    assert (status, told["error"]["type"]) == (400, "prompt_outputs_failed_validation")
    (error,) = told["node_errors"]["1"]["errors"]
    assert (error["type"], error["extra_info"]["input_name"]) == (kind, "file")
    assert reason in error["details"]
    assert told["node_errors"]["1"]["dependent_outputs"] == ["1"]
    assert loading.front.store.remaining() == 0


async def test_sound_and_videos_are_known_by_how_they_begin(loading):
    for body, node in ((b"fLaC" + bytes(60), "Hear"), (b"\0\0\0\x18ftypmp42" + bytes(60), "Watch")):
        assert (await post(loading, {"base64": base64.b64encode(body).decode()}, node))[0] == 200
    names = sorted(path.suffix for path in (loading.base / "input" / "weft_inputs").iterdir())
    assert names == [".flac", ".mp4"]


async def test_equal_files_of_one_prompt_are_one(loading, pictures):
    node = {"class_type": "Load", "inputs": {"file": f"{pictures}/a.png"}}
    async with loading.post("/prompt", json={"prompt": {str(number): node for number in range(9)}}) as answer:
        assert answer.status == 200
    assert [path.name for path in (loading.base / "input" / "weft_inputs").iterdir()] == [NAME.partition("/")[2]]


async def test_a_prompt_brings_so_many_files_and_no_more(loading):
    node = {"class_type": "Load", "inputs": {"file": URL}}
    async with loading.post("/prompt", json={"prompt": {str(number): node for number in range(65)}}) as answer:
        assert (answer.status, "64 files" in await answer.text()) == (400, True)


async def test_a_refused_request_with_a_key_may_be_sent_again(loading, pictures):
    body = {"prompt": {"1": {"class_type": "Load", "inputs": {"file": f"{pictures}/none.png"}}}}
    for _ in range(2):
        async with loading.post("/prompt", json=body, headers={"Idempotency-Key": "k"}) as answer:
            assert answer.status == 400
