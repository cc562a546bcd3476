"""Each hostile request has a typed answer, and keeps the event loop, and so every other client, less than 100 ms.

The server measures itself (heart.py): time that the machine had no core for it does not count. What held it once may
have been the collector of garbage or the disk; what holds it each of three times is the request.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator

import pytest
import requests

from tests.hostile.sockets import BINARY, PING, TEXT, frame, send_frames
from tests.process.front import graph
from tests.process.house import House, succeeded

LONGEST_HELD_S = 0.1
TRIES = 3
PATIENCE_S = 300
MB = 1_000_000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"), module="tests.hostile.server").start().until_ready()
    put(made, "huge.png", png(100_000, 100_000, b""))
    put(made, "large.png", png(6000, 6000, flat(6000, 6000)))
    yield made
    made.close()


# ---------------------------------------------------------------- files


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts = (chunk(b"IHDR", header), *more, chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def flat(width: int, height: int) -> bytes:
    packer = zlib.compressobj(1)
    row = b"\0" * (1 + 4 * width)
    return b"".join(packer.compress(row) for _ in range(height)) + packer.flush()


def put(house: House, name: str, body: bytes) -> None:
    answer = requests.post(f"{house.url}/upload/image", files={"image": (name, body)}, timeout=PATIENCE_S)
    assert answer.json()["name"] == name


def parts(count: int, extra: bytes) -> bytes:
    one = b'--B\r\nContent-Disposition: form-data; name="f"' + extra + b"\r\n\r\nx\r\n"
    return one * count + b"--B--\r\n"


# ---------------------------------------------------------------- requests


def post(path: str, body: bytes | str, **headers: str) -> Callable[[House], int]:
    def send(house: House) -> int:
        return requests.post(house.url + path, data=body, headers=headers, timeout=PATIENCE_S).status_code

    return send


def prompt(value: object, **more: object) -> Callable[[House], int]:
    return post("/prompt", json.dumps({"prompt": value, **more}))


def get(path: str) -> Callable[[House], int]:
    return lambda house: requests.get(house.url + path, timeout=PATIENCE_S).status_code


def frames(sent: bytes) -> Callable[[House], int]:
    def send(house: House) -> int:
        send_frames(house.url, sent)
        return 101

    return send


def nodes(count: int, inputs: Callable[[int], object]) -> dict[str, object]:
    return {str(number): {"class_type": "Say", "inputs": inputs(number)} for number in range(count)}


FORM = "multipart/form-data; boundary=B"
PACKED = gzip.compress(b" " * (200 * MB), 1)

HOSTILE: dict[str, tuple[Callable[[House], int], int]] = {
    "brackets": (post("/prompt", "[" * 100_000), 400),
    "megabytes of brackets": (post("/prompt", "[" * (20 * MB)), 400),
    "objects in objects": (post("/prompt", '{"prompt":' + '{"a":' * 100_000), 400),
    "too many values": (post("/prompt", "[" + "1," * (10 * MB) + "1]"), 400),
    "too many objects": (post("/settings", "[" + "{}," * (8 * MB) + "1]"), 400),
    "too many bytes": (post("/prompt", "[" + "1," * (20 * MB) + "1]"), 413),
    "many values": (post("/queue", json.dumps({"delete": [[]] * 200_000})), 400),
    "many ids": (post("/history", json.dumps({"delete": list(map(str, range(200_000)))})), 400),
    "many jobs": (post("/api/jobs/cancel", json.dumps({"job_ids": ["0" * 8] * 200_000})), 400),
    "a long text": (prompt(graph("Say", text="x" * (20 * MB)), prompt_id="long"), 200),
    "an interrupt of megabytes": (post("/interrupt", "[" + "1," * (10 * MB) + "1]"), 200),
    "a mask's reference": (post("/upload/mask", parts(99, b""), **{"Content-Type": FORM}), 400),
    "packed": (post("/prompt", PACKED, **{"Content-Encoding": "gzip"}), 413),
    "packed otherwise": (post("/prompt", b"\x8b\x02\x80", **{"Content-Encoding": "br"}), 400),
    "broken packing": (post("/prompt", PACKED[:1000], **{"Content-Encoding": "gzip"}), 400),
    "fields": (post("/upload/image", parts(100_000, b""), **{"Content-Type": FORM}), 413),
    "files": (post("/upload/image", parts(100_000, b'; filename="a"'), **{"Content-Type": FORM}), 413),
    "a form of words": (
        post("/upload/image", b"a=1&" * (5 * MB), **{"Content-Type": "application/x-www-form-urlencoded"}),
        400,
    ),
    "nodes without end": (prompt(nodes(50_000, lambda number: {"text": "x"})), 400),
    "many nodes": (prompt(nodes(20_000, lambda number: {"text": "x"})), 200),
    "many bad nodes": (prompt(nodes(20_000, lambda number: {})), 400),
    "a long chain": (prompt(nodes(20_000, lambda number: {"text": [str(number + 1), 0]})), 400),
    "a large loop": (prompt(nodes(20_000, lambda number: {"text": [str((number + 1) % 20_000), 0]})), 400),
    "a long class": (prompt({"1": {"class_type": "x" * MB, "inputs": {}}}), 400),
    "a long id": (prompt(graph("Say", text="x"), prompt_id="x" * MB), 400),
    "a long client": (prompt(graph("Say", text="x"), client_id="x" * MB), 400),
    "a long node": (prompt({"x" * MB: {"class_type": "Say", "inputs": {}}}), 400),
    "a long number": (prompt(graph("Say", text="x"), number="9" * MB), 400),
    "a bad text of megabytes": (prompt(graph("Sleep", seconds="x" * (5 * MB))), 400),
    "not a number": (post("/prompt", '{"prompt":{"1":{"class_type":"Sleep","inputs":{"seconds":NaN}}}}'), 400),
    "infinity": (post("/prompt", '{"prompt":{"1":{"class_type":"Sleep","inputs":{"seconds":1e400}}}}'), 400),
    "digits": (post("/prompt", '{"prompt":{"1":{"class_type":"Say","inputs":{"text":' + "9" * 5000 + "}}}}"), 400),
    "a picture that says it is huge": (get("/view?type=input&filename=huge.png&preview=webp"), 400),
    "a quality of digits": (get("/view?type=input&filename=huge.png&preview=webp;" + "9" * 5000), 400),
    "pages of history": (get("/history?max_items=" + "9" * 4000), 400),
    "empty messages": (frames(frame(TEXT) * 200_000), 101),
    "pings": (frames(frame(PING) * 200_000), 101),
    "bytes": (frames(frame(BINARY, b"x" * 100) * 100_000), 101),
    "messages that are no JSON": (frames(frame(TEXT, b"[" * 60_000) * 200), 101),
    "messages of much JSON": (frames(frame(TEXT, b"[" + b"1," * 500_000 + b"x") * 5), 101),
    "a message that never ends": (frames(frame(TEXT, final=False) + frame(0, final=False) * 300_000), 101),
    "a huge message": (frames(frame(TEXT, b"x" * (3 * MB))), 101),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_answered_and_holds_nobody(house: House, name: str):
    send, status = HOSTILE[name]
    held: list[float] = []
    while len(held) < TRIES and min(held, default=1.0) > LONGEST_HELD_S:
        house.get("/tests/held")
        assert send(house) == status
        held.append(house.get("/tests/held").json())
    assert min(held) <= LONGEST_HELD_S


@pytest.mark.parametrize("query", ["preview=webp", "channel=a"])
def test_large_pictures_are_shown(house: House, query: str):
    """Not measured: what a busy machine makes of the start of another process would be taken for the server's work."""
    assert get(f"/view?type=input&filename=large.png&{query}")(house) == 200


def test_an_ordinary_prompt_runs_after_all_that(house: House):
    house.post("/queue", {"clear": True})
    assert succeeded(house.run(text="still here"))


def test_the_measure_sees_what_holds_the_loop(house: House, tmp_path):
    house.get("/tests/held")
    house.get("/tests/hold")
    assert house.get("/tests/held").json() > LONGEST_HELD_S
