"""Every route of the application, asked for in ways that nobody planned: drawn by hypothesis, sent over real sockets.

No answer is a 5xx but those that are listed, each refusal says what it is, nobody else waits, and an ordinary prompt
still runs at the end. The default run is a fixed sample; `make test-soak` draws others, and many more.
"""

from __future__ import annotations

import json
import random
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from server.app import twins
from server.routes import ALL, BARE
from tests.hostile.sockets import PATIENCE_S, frame, send_frames, send_raw
from tests.hostile.test_held import LONGEST_HELD_S, TRIES
from tests.process.front import graph
from tests.process.house import House, succeeded

ROUTES = sorted(
    {(route.method, route.path) for table in (*ALL, *BARE) for route in table}
    | {(route.method, route.path) for table in ALL for route in twins(table)}
)
OWN_ROUTES = sorted({(route.method, route.path) for table in (*ALL, *BARE) for route in table})
"""Without the twins below /api, which have the same handlers."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
EXPECTED_5XX = {
    503: ("/api/assets", "/api/tags", "/ready"),  # switched off, and a server that is not ready: both say so
}
ENDLESS = ("/weft/events", "/api/weft/events")  # a stream: only its beginning is read
UNTYPED = re.compile(rb"Traceback|File \"")

NAMES = (
    *(
        "filename",
        "type",
        "subfolder",
        "preview",
        "channel",
        "dir",
        "path",
        "recurse",
        "split",
        "full_info",
        "overwrite",
    ),
    *(
        "max_items",
        "offset",
        "limit",
        "status",
        "sort_by",
        "sort_order",
        "clientId",
        "last_event",
        "prompt_id",
        "answer",
    ),
    "index",
    "keep",
    "node",
    "token",
    "rand",
)
TAKEN = {
    "/view": ("filename", "type", "subfolder", "preview", "channel"),
    "/userdata": ("dir", "recurse", "split", "full_info", "overwrite"),
    "/v2": ("path",),
    "/history": ("max_items", "offset"),
    "/jobs": ("limit", "offset", "status", "sort_by", "sort_order"),
    "/ws": ("clientId", "last_event"),
    "/weft/events": ("clientId", "last_event", "prompt_id"),
    "/weft/run": ("answer", "index", "keep", "node"),
    "/weft/profile": ("torch",),
}
"""The names that routes know in their queries, by how the routes begin."""
ODD = (
    *(
        "",
        ".",
        "..",
        "/",
        "../../etc/passwd",
        "..%2f..%2fx",
        "%2e%2e/",
        "\\..\\..\\x",
        "C:\\x",
        "\\\\host\\share",
        "/etc/passwd",
    ),
    *(
        "a\0b",
        "a\nb",
        "\x7f",
        "\ud800",
        "\uff0e\uff0e\uff0fx",
        "con",
        "x.",
        "x ",
        "x" * 300,
        "x" * 3000,
        "ü" * 200,
        "a.png",
        "a.png [output]",
    ),
    *(
        "x [temp]",
        "[input]",
        "user.css",
        "workflows",
        "input",
        "output",
        "temp",
        "checkpoints",
        "loras",
        "custom_nodes",
    ),
    "webp;90",
    "jpeg;" + "9" * 5000,
    "rgb",
    "a",
    "true",
    "false",
    "null",
    "NaN",
    "-1",
    "0",
    "1",
    "1e400",
    "9" * 30,
    "9" * 4400,
    "٣",
    "{}",
    "[]",
    "<script>",
    '"; x="',
    "a;b",
    "a,b",
    "id",
    "00000000-0000-0000-0000-000000000000",
    *(
        "data:text/html,x",
        "x.html",
        "x.svg",
        "x.safetensors",
        "~",
        "*",
        "**/*",
        "$(id)",
        "%",
        "%zz",
        "%00",
        "?",
        "#",
        "&=",
    ),
)

words = st.sampled_from(ODD) | st.sampled_from(ODD) | st.text(max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=8
)
links = st.tuples(st.sampled_from(["1", "2", "3", ""]), st.integers(-2, 3) | st.floats() | st.none()).map(list)
nodes = st.fixed_dictionaries(
    {"class_type": st.sampled_from(["Say", "Sleep", "Steps", "Sya", "", None, 1])},
    optional={
        "inputs": st.dictionaries(st.sampled_from(["text", "seconds", "steps", "x"]), values | links, max_size=3)
        | values,
        "_meta": values,
        "is_changed": values,
    },
)
prompts = st.fixed_dictionaries(
    {"prompt": st.dictionaries(st.sampled_from(["1", "2", "3", "", "\ud800"]), nodes | values, max_size=3) | values},
    optional={
        "prompt_id": values,
        "client_id": values,
        "number": values,
        "front": values,
        "extra_data": st.dictionaries(st.sampled_from(["client_id", "extra_pnginfo", "webhook", "create_time"]), values)
        | values,
        "partial_execution_targets": values,
    },
)
known = st.dictionaries(
    st.sampled_from(
        [
            "delete",
            "clear",
            "unload_models",
            "free_memory",
            "prompt_id",
            "force",
            "job_ids",
            "clientId",
            "enabled",
            "username",
        ]
    ),
    values | st.lists(words, max_size=3),
    max_size=3,
)
json_bodies = (prompts | known | values).map(lambda value: json.dumps(value).encode())
fields = st.tuples(
    st.sampled_from(["image", "type", "subfolder", "overwrite", "original_ref", ""]),
    st.none() | words,
    st.binary(max_size=30) | words.map(lambda text: text.encode("utf-8", "surrogatepass")),
)


def form(parts: list[tuple[str, str | None, bytes]]) -> bytes:
    made = b""
    for name, filename, body in parts:
        told = "" if filename is None else f'; filename="{filename}"'
        head = f'--B\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'
        made += head.encode("utf-8", "surrogatepass") + body + b"\r\n"
    return made + b"--B--\r\n"


forms = st.lists(fields, max_size=4).map(form)
bodies = st.none() | st.binary(max_size=60) | json_bodies | forms
HEADERS = (
    "Content-Type",
    "Content-Encoding",
    "Range",
    "If-None-Match",
    "If-Modified-Since",
    "Origin",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Site",
    "Cookie",
    "Idempotency-Key",
    "Prefer",
    "Accept",
    "Accept-Encoding",
    "Expect",
    "Comfy-User",
    "Last-Event-ID",
    "Authorization",
    "Upgrade",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "Referer",
)
TOLD = (
    "",
    "gzip",
    "deflate",
    "image",
    "bytes=0-",
    "bytes=-1",
    "bytes=9-1,2-",
    "null",
    "http://127.0.0.1",
    "wait=1",
    "multipart/form-data; boundary=B",
    "multipart/form-data",
    "application/json",
    "image/png",
    "*/*",
    "Mon, 01 Jan 0001 00:00:00 GMT",
    'W/"x"',
    "100-continue",
    "Basic !!!",
    "websocket",
    "\x80",
    "9" * 40,
    "x" * 300,
)
headers = st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(TOLD), max_size=3)


@dataclass(frozen=True)
class Asked:
    """One request, as bytes, and what it was made of."""

    method: str
    path: str
    data: bytes


@st.composite
def requests_to(draw: st.DrawFn, own: str, pattern: str) -> Asked:
    method = draw(st.sampled_from((own if own != "*" else "GET",) * 20 + METHODS))

    def part(match: re.Match[str]) -> str:
        safe = draw(st.sampled_from(["", "/", "/%"]))
        return quote(draw(words).encode("utf-8", "surrogatepass"), safe=safe) or "x"

    path = re.sub(r"\{[^}]+\}", part, pattern)
    taken = next((names for start, names in TAKEN.items() if pattern.removeprefix("/api").startswith(start)), NAMES)
    query = draw(st.dictionaries(st.sampled_from(taken) | st.sampled_from(NAMES), words, max_size=4))
    pairs = {name: value.encode("utf-8", "surrogatepass") for name, value in query.items()}
    target = path + ("?" + urlencode(pairs) if pairs else "")
    body, told = draw(bodies), draw(headers)
    if body is not None and body.startswith(b"--B") and draw(st.booleans()):
        told["Content-Type"] = "multipart/form-data; boundary=B"
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in told.items()]
    lines += [f"Content-Length: {len(body)}"] if body is not None else []
    return Asked(method, path, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))


# ---------------------------------------------------------------- the server, and another client


class Other(threading.Thread):
    """A client that asks for the queue again and again; what goes wrong is kept."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.ended = threading.Event()
        self.answered = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        with requests.Session() as session:
            while self.failure is None:
                try:
                    session.get(f"{self.url}/queue", timeout=PATIENCE_S).raise_for_status()
                    self.answered += 1
                except requests.RequestException as error:
                    self.failure = error
                if self.ended.wait(0.05):
                    break


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"), module="tests.hostile.server").start().until_ready()
    (made.base / "output" / "a.png").write_bytes(b"no picture")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _another_client_is_answered(house: House) -> Iterator[None]:
    """While a test draws requests somebody else is answered, and afterwards an ordinary prompt runs."""
    other = Other(house.url)
    other.start()
    yield
    other.ended.set()
    other.join(2 * PATIENCE_S)
    assert other.failure is None
    assert other.answered
    house.post("/queue", {"clear": True})
    if house.queue()[0]:  # drawn prompts may sleep for ever
        house.post("/interrupt", {})
    house.until(lambda: house.queue() == ([], []))
    assert succeeded(house.run(text="an ordinary prompt"))


# ---------------------------------------------------------------- what is asserted


def answer_of(house: House, asked: Asked) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    address = urlsplit(house.url)
    with socket.create_connection((address.hostname, address.port), PATIENCE_S) as own:
        own.sendall(asked.data)
        got = b""
        while b"\r\n\r\n" not in got or not (asked.path.startswith(ENDLESS) or b" 101 " in got[:20]):
            part = own.recv(1 << 16)
            if not part:
                break
            got += part
            got = got.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, _, body = got.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    # 1.0: refused before there was a request
    assert re.match(r"HTTP/1\.[01] ", first), (asked, got[:200])
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def is_typed(told: dict[str, str], body: bytes) -> bool:
    """Tell whether a refusal says what it is: JSON with an error; or, as clients know it, nothing or a line of text."""
    if told.get("content-type", "").startswith("application/json"):
        return "error" in json.loads(body)
    return not UNTYPED.search(body) and len(body) < 10_000


def check(house: House, asked: Asked) -> None:
    status, told, body = answer_of(house, asked)
    assert status < 500 or asked.path.startswith(EXPECTED_5XX.get(status, ("no such path",))), (asked, status, body)
    if status >= 400 and asked.method != "HEAD":
        assert is_typed(told, body), (asked, status, body)
    held = house.get("/tests/held").json()
    for _ in range(TRIES - 1):
        if held <= LONGEST_HELD_S:
            break
        answer_of(house, asked)
        held = house.get("/tests/held").json()
    assert held <= LONGEST_HELD_S, asked


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.explicit, Phase.generate]}


def ask(house: House, routes: list[tuple[str, str]], count: int, first: int) -> None:
    """Ask each route so often; the draws are those of a number for each route, from `first` on."""
    for number, (method, path) in enumerate(routes, start=first):

        @seed(number)
        @settings(max_examples=count, database=None, **QUIET)
        @given(requests_to(method, path))
        def one(asked: Asked) -> None:
            check(house, asked)

        one()


def test_every_route_answers_in_words(house: House):
    ask(house, OWN_ROUTES, 6, first=1)


@pytest.mark.soak
def test_every_route_answers_in_words_for_long(house: House):
    ask(house, ROUTES, 120, first=random.SystemRandom().randrange(1 << 30))


HEADS = (b"GET / HTTP/1.1\r\n", b"POST /prompt HTTP/1.1\r\nHost: x\r\n", b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n")
PIECES = (
    *(
        b"\r\n",
        b"\n",
        b"\0",
        b"Host: a\r\nHost: b\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
    ),
    *(
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"0\r\n\r\n",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"X: " + b"y" * 20_000 + b"\r\n",
    ),
    *(
        b"a: b\r\n" * 300,
        b": x\r\n",
        b" folded\r\n",
        b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"HTTP/9.9\r\n",
        b"\x16\x03\x01\x02\x00",
    ),
    *(
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://evil/ HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"GET * HTTP/1.1\r\n\r\n",
    ),
    *(
        b"Expect: 100-continue\r\n",
        b"Connection: Upgrade\r\n",
        b"Sec-WebSocket-Key: x\r\n",
        b"Sec-WebSocket-Version: 99\r\n",
    ),
)
streams = st.lists(st.sampled_from(HEADS + PIECES) | st.binary(max_size=40), max_size=8).map(b"".join)


@settings(max_examples=120, derandomize=True, **QUIET)
@given(streams)
def test_what_is_no_http_ends_in_a_refusal_or_a_closed_connection(house: House, data: bytes):
    assert not re.match(rb"HTTP/1\.[01] 5", send_raw(house.url, data))


@pytest.mark.soak
@settings(max_examples=5000, database=None, **QUIET)
@given(streams)
def test_what_is_no_http_ends_in_a_refusal_for_long(house: House, data: bytes):
    assert not re.match(rb"HTTP/1\.[01] 5", send_raw(house.url, data))


frames_drawn = st.lists(
    st.builds(frame, st.integers(0, 15), st.binary(max_size=130) | json_bodies, final=st.booleans())
    | st.binary(max_size=20),
    max_size=6,
).map(b"".join)


@settings(max_examples=60, derandomize=True, **QUIET)
@given(frames_drawn)
def test_websockets_take_any_frames(house: House, sent: bytes):
    send_frames(house.url, sent)


def test_a_body_that_never_ends_keeps_nobody_waiting(house: House):
    """The server waits for it; everybody else is answered meanwhile."""
    address = urlsplit(house.url)
    with socket.create_connection((address.hostname, address.port), PATIENCE_S) as own:
        own.sendall(b"POST /prompt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            own.sendall(b"1\r\n[\r\n")
            assert house.get("/queue").status_code == 200


def test_hundreds_of_half_requests_leave_room_for_others(house: House):
    address = urlsplit(house.url)
    halves = [socket.create_connection((address.hostname, address.port), PATIENCE_S) for _ in range(400)]
    try:
        for own in halves:
            own.sendall(b"GET /queue HTTP/1.1\r\nHost: ")
        assert succeeded(house.ended(house.submit(text="among half requests")))
        assert house.post("/prompt", {"prompt": graph("Sya")}).status_code == 400
    finally:
        for own in halves:
            own.close()
