"""Bodies: how they may be packed, how large they may be, and that they end."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest

from executor.errors import BadInput
from server import bodies, largejson

GRAPH = {
    "1": {"class_type": "Source", "inputs": {"width": 8}},
    "2": {"class_type": "Sink", "inputs": {"image": ["1", 0]}},
}
BODY = json.dumps({"prompt": GRAPH}).encode()
PACKED = gzip.compress(BODY, mtime=0)  # the same in every process: names of tests are made of it


@pytest.mark.parametrize(
    ("packing", "body"),
    [
        ("gzip", PACKED),
        ("x-gzip", PACKED),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
        ("GZIP", PACKED),
    ],
)
async def test_packed_bodies_are_read(stand, packing, body):
    assert (await stand.post("/prompt", data=body, headers={"Content-Encoding": packing})).status == 200


@pytest.mark.parametrize(
    ("packing", "body", "words"),
    [
        ("br", BODY, "there are gzip, x-gzip, deflate"),
        ("gzip", BODY, "is not packed by gzip"),
        ("gzip", PACKED[:-4], "stops short"),
        ("deflate", b"", "stops short"),
    ],
)
async def test_bodies_that_cannot_be_unpacked_are_refused(stand, packing, body, words):
    answer = await stand.post("/prompt", data=body, headers={"Content-Encoding": packing})
    assert answer.status == 400
    assert words in (await answer.json())["error"]["message"]


def test_what_unpacks_to_too_much_is_refused():
    with pytest.raises(bodies.web.HTTPRequestEntityTooLarge):
        bodies.unpacked(gzip.compress(b" " * 1001), "gzip", 1000)
    assert bodies.unpacked(gzip.compress(b" " * 1000), "gzip", 1000) == b" " * 1000


async def test_json_has_a_limit_of_its_own(stand, monkeypatch):
    monkeypatch.setattr(largejson, "MOST_BYTES", 1000)
    answer = await stand.post("/prompt", data=b" " * 1001)
    assert (answer.status, await answer.text()) == (413, "Maximum request body size 1000 exceeded.")
    stored = await stand.post("/userdata/a.json", data=b" " * 2000)
    assert stored.status == 200


async def test_the_limit_holds_for_bodies_that_do_not_tell_their_size(stand, monkeypatch):
    monkeypatch.setattr(largejson, "MOST_BYTES", 1000)

    async def endless():
        while True:
            yield b" " * 100
            await asyncio.sleep(0)

    assert (await stand.post("/prompt", data=endless())).status == 413


async def test_a_body_that_stops_in_the_middle_is_refused(stand, monkeypatch):
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.01)

    async def stopping():
        yield b"{"
        await asyncio.sleep(5)

    answer = await stand.post("/prompt", data=stopping())
    assert answer.status == 400
    assert "stops short" in (await answer.json())["error"]["message"]


async def test_large_prompts_are_taken(stand):
    graph = {**GRAPH, **{f"s{number}": GRAPH["1"] for number in range(3000)}}
    body = {"prompt": graph, "prompt_id": "large", "extra_data": {"text": "x" * largejson.QUICK_BYTES}}
    assert (await stand.post("/prompt", json=body)).status == 200
    assert (await (await stand.get("/api/jobs/large")).json())["workflow"]["prompt"] == graph


def test_lists_of_ids_have_an_end():
    assert bodies.texts([1, "a"], "delete") == ["1", "a"]
    with pytest.raises(BadInput, match="at most 20000 at once"):
        bodies.texts(["a"] * 20_001, "delete")


async def test_a_client_that_waits_with_its_body_is_told_to_go_on(stand):
    assert (await stand.post("/prompt", data=BODY, expect100=True)).status == 200


@pytest.mark.parametrize(
    ("line", "name", "status"),
    [
        ("GET /ws", "Expect", 417),
        ("GET /ws", "Upgrade", 400),
        ("GET /interrupt", "Expect", 417),
        ("POST /no-such-route", "Expect", 417),
        ("PATCH /", "Expect", 417),
    ],
)
async def test_headers_that_are_no_unicode_are_refused(stand, line, name, status):
    reader, writer = await asyncio.open_connection("127.0.0.1", stand.client.port)
    writer.write(f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{name}: \x80\r\n\r\n".encode("latin-1"))
    assert (await reader.read()).split()[1] == str(status).encode()
    writer.close()
    await writer.wait_closed()
