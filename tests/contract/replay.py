#!/usr/bin/env python3
"""Play the recorded conformance cases against a running server.

    python replay.py --url http://127.0.0.1:8188 [--cases DIR] [-k TEXT] [-v]

Every case is one JSON file: an ordered list of HTTP and WebSocket steps with
the answer that is expected of each.  README.md describes the format.  The exit
status is 1 when a case failed; the last line is always "N passed, N failed".
Needs Python 3.10+ and aiohttp (with its own dependency yarl), nothing else.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import hashlib
import json
import operator
import random
import re
import struct
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

PATIENCE = 30.0  # seconds to wait for a WebSocket message or a polled answer (--patience)
IDLE_TIMEOUT = 60.0  # seconds the queue may take to drain between two cases
MAX_DIFFERENCES = 12  # differences printed per failing step
MAX_WIDTH = 240  # characters printed per value


def say(text: str) -> None:
    """Write a line to the terminal."""
    sys.stdout.write(text + "\n")


class StepFailed(Exception):
    """One step did not behave as recorded; carries the readable differences."""

    def __init__(self, differences: list[str]):
        super().__init__("; ".join(differences))
        self.differences = differences


class CaseError(Exception):
    """The case file itself is wrong (unknown matcher, unset variable, ...)."""


# ---------------------------------------------------------------- variables

VARIABLE = re.compile(r"\$\{([^{}]+)\}")


class Variables:
    """The values ${name} stands for while one case runs.

    Built in: ${u} an 8-digit hex token, ${n} a random colour 4096..2**24-1 and
    ${id:NAME} a UUID, all drawn anew per case so that no two cases meet, and
    ${host} the server's host:port.  Everything else was saved by an earlier
    step of the same case.
    """

    def __init__(self, host: str = "") -> None:
        self.values: dict[str, Any] = {
            "u": uuid.uuid4().hex[:8],
            "n": random.randrange(4096, 2**24),
            "host": host,
        }

    def get(self, name: str) -> Any:
        if name.startswith("id:"):
            return self.values.setdefault(name, str(uuid.uuid4()))
        if name not in self.values:
            raise CaseError(f"variable ${{{name}}} was never saved")
        return self.values[name]

    def expand(self, value: Any, escape: bool = False) -> Any:
        """Replace ${...} in every string (and key) of a JSON value.

        A string that is one variable and nothing else takes the variable's
        own type.  `escape` quotes the values for use in a regular expression.
        """
        if isinstance(value, dict):
            return {self.expand(k): self.expand(v, escape) for k, v in value.items()}
        if isinstance(value, list):
            return [self.expand(v, escape) for v in value]
        if not isinstance(value, str):
            return value
        whole = VARIABLE.fullmatch(value)
        if whole and not escape:
            return self.get(whole.group(1))

        def text(match: re.Match) -> str:
            found = str(self.get(match.group(1)))
            return re.escape(found) if escape else found

        return VARIABLE.sub(text, value)

    def calculate(self, expression: str) -> Any:
        """Evaluate "-(n + 1)" and the like: numbers, saved names, + - *."""
        operators = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}

        def walk(node: ast.AST) -> Any:
            if isinstance(node, ast.Expression):
                return walk(node.body)
            if isinstance(node, ast.Constant):
                return node.value
            if isinstance(node, ast.Name):
                return self.get(node.id)
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                return -walk(node.operand)
            if isinstance(node, ast.BinOp) and type(node.op) in operators:
                return operators[type(node.op)](walk(node.left), walk(node.right))
            raise CaseError(f"cannot calculate {expression!r}")

        return walk(ast.parse(expression, mode="eval"))


# ---------------------------------------------------------------- comparing

MISSING = object()

TYPES = {
    "null": lambda v: v is None,
    "bool": lambda v: isinstance(v, bool),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}


def show(value: Any) -> str:
    if value is MISSING:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= MAX_WIDTH else text[:MAX_WIDTH] + f"... ({len(text)} characters)"


def compare(expected: Any, got: Any, where: str, env: Variables) -> list[str]:
    """List the differences between a template and a value (none: it matches).

    A dict with one key that starts with "$" is a matcher; anything else has to
    be equal, keys and list order included.  1 and 1.0 are equal, True and 1
    are not.
    """
    if isinstance(expected, dict) and len(expected) == 1:
        ((name, argument),) = expected.items()
        if name.startswith("$") and not name.startswith("${"):
            if name not in MATCHERS:
                raise CaseError(f"unknown matcher {name}")
            return MATCHERS[name](argument, got, where, env)
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return [f"{where}: expected an object, got {show(got)}"]
        differences = compare_keys(expected, got, where, env)
        known = {env.expand(key) for key in expected}
        differences += [
            f"{where}.{key}: unexpected, got {show(value)}" for key, value in got.items() if key not in known
        ]
        return differences
    if isinstance(expected, list):
        if not isinstance(got, list):
            return [f"{where}: expected an array, got {show(got)}"]
        differences = []
        for index in range(max(len(expected), len(got))):
            item = f"{where}[{index}]"
            if index >= len(got):
                differences.append(f"{item}: expected {show(env.expand(expected[index]))}, got nothing")
            elif index >= len(expected):
                differences.append(f"{item}: unexpected, got {show(got[index])}")
            else:
                differences += compare(expected[index], got[index], item, env)
        return differences
    wanted = env.expand(expected)
    same_kind = isinstance(wanted, bool) == isinstance(got, bool)
    if same_kind and wanted == got:
        return []
    return [f"{where}: expected {show(wanted)}, got {show(got)}"]


def compare_keys(expected: dict, got: dict, where: str, env: Variables) -> list[str]:
    differences = []
    for raw_key, template in expected.items():
        key = env.expand(raw_key)
        if key in got:
            differences += compare(template, got[key], f"{where}.{key}", env)
        elif not (isinstance(template, dict) and "$optional" in template):
            differences.append(f"{where}.{key}: missing")
    return differences


def match_type(argument, got, where, env):
    names = argument if isinstance(argument, list) else [argument]
    if any(TYPES[name](got) for name in names):
        return []
    return [f"{where}: expected type {' or '.join(names)}, got {show(got)}"]


def match_regex(argument, got, where, env):
    pattern = env.expand(argument, escape=True)
    if isinstance(got, str) and re.search(pattern, got, re.DOTALL):
        return []
    return [f"{where}: expected text matching /{pattern}/, got {show(got)}"]


def match_one_of(argument, got, where, env):
    tries = [compare(template, got, where, env) for template in argument]
    if any(not differences for differences in tries):
        return []
    return [f"{where}: expected one of {show(env.expand(argument))}, got {show(got)}"]


def match_all(argument, got, where, env):
    return [line for template in argument for line in compare(template, got, where, env)]


def pair_up(templates: list, values: list, env: Variables) -> tuple[list, list]:
    """Pair templates with values regardless of order; return what is left over.

    Kuhn's augmenting paths: a loose template never takes away the only value
    a strict one could have had.
    """
    fits = [[not compare(t, v, "", env) for v in values] for t in templates]
    owner: dict[int, int] = {}

    def claim(template: int, seen: set[int]) -> bool:
        for value, good in enumerate(fits[template]):
            if good and value not in seen:
                seen.add(value)
                if value not in owner or claim(owner[value], seen):
                    owner[value] = template
                    return True
        return False

    lonely = [t for index, t in enumerate(templates) if not claim(index, set())]
    return lonely, [v for index, v in enumerate(values) if index not in owner]


def match_unordered(argument, got, where, env):
    if not isinstance(got, list):
        return [f"{where}: expected an array, got {show(got)}"]
    lonely, spare = pair_up(argument, got, env)
    return [f"{where}: no item matches {show(env.expand(t))}" for t in lonely] + [
        f"{where}: unexpected item {show(v)}" for v in spare
    ]


def match_contains(argument, got, where, env):
    if not isinstance(got, list):
        return [f"{where}: expected an array, got {show(got)}"]
    lonely, _ = pair_up(argument, got, env)
    return [f"{where}: no item matches {show(env.expand(t))}" for t in lonely]


def match_lines(argument, got, where, env):
    if not isinstance(got, str):
        return [f"{where}: expected text, got {show(got)}"]
    return match_unordered(argument, got.split("\n"), where, env)


def match_superset(argument, got, where, env):
    if not isinstance(got, dict):
        return [f"{where}: expected an object, got {show(got)}"]
    return compare_keys(argument, got, where, env)


def match_each(argument, got, where, env):
    if isinstance(got, list):
        items = [(f"{where}[{index}]", item) for index, item in enumerate(got)]
    elif isinstance(got, dict):
        items = [(f"{where}.{key}", item) for key, item in got.items()]
    else:
        return [f"{where}: expected an array or object, got {show(got)}"]
    return [line for place, item in items for line in compare(argument, item, place, env)]


def match_length(argument, got, where, env):
    if not isinstance(got, (list, dict, str)):
        return [f"{where}: expected something of length {argument}, got {show(got)}"]
    return compare(argument, len(got), f"{where} length", env)


def match_calc(argument, got, where, env):
    wanted = env.calculate(argument)
    return [] if got == wanted else [f"{where}: expected {show(wanted)}, got {show(got)}"]


def match_range(argument, got, where, env):
    low, high = env.expand(argument)
    if TYPES["number"](got) and low <= got <= high:
        return []
    return [f"{where}: expected {low} to {high}, got {show(got)}"]


def match_not(argument, got, where, env):
    if compare(argument, got, where, env):
        return []
    return [f"{where}: must not match {show(env.expand(argument))}, got {show(got)}"]


MATCHERS = {
    "$any": lambda argument, got, where, env: [],
    "$type": match_type,
    "$regex": match_regex,
    "$oneof": match_one_of,
    "$all": match_all,
    "$not": match_not,
    "$unordered": match_unordered,
    "$contains": match_contains,
    "$lines": match_lines,
    "$superset": match_superset,
    "$optional": compare,
    "$each": match_each,
    "$length": match_length,
    "$calc": match_calc,
    "$range": match_range,
}


# ------------------------------------------------------------ files, images

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}


def make_png(size: list[int], color: list[int], text: dict[str, str] | None = None) -> bytes:
    """A one-colour PNG: three channels make RGB, four RGBA, one grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    width, height = size
    colour_type = {1: 0, 3: 2, 4: 6}[len(color)]
    rows = (b"\0" + bytes(color) * width) * height
    extra = b"".join(
        chunk(b"tEXt", key.encode("latin-1") + b"\0" + value.encode("latin-1")) for key, value in (text or {}).items()
    )
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def make_safetensors(metadata: dict[str, str] | None) -> bytes:
    """A safetensors file with one two-element tensor."""
    header: dict[str, Any] = {"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    if metadata is not None:
        header["__metadata__"] = metadata
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + bytes(8)


def make_file(spec: Any) -> bytes:
    """Generate the bytes of an upload or request body from its description."""
    ((kind, argument),) = spec.items()
    if kind == "text":
        return argument.encode()
    if kind == "hex":
        return bytes.fromhex(argument)
    if kind == "zeros":
        return bytes(argument)
    if kind == "png":
        return make_png(argument["size"], argument["color"], argument.get("text"))
    if kind == "safetensors":
        return make_safetensors(argument)
    raise CaseError(f"unknown file kind {kind!r}")


def describe_png(data: bytes) -> dict:
    """Decode an 8-bit non-interlaced PNG, with its text chunks."""
    position, header, packed, text = 8, None, b"", {}
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        position += 12 + length
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed += body
        elif kind == b"tEXt":
            key, _, value = body.partition(b"\0")
            text[key.decode("latin-1")] = value.decode("latin-1")
        elif kind == b"zTXt":
            key, _, value = body.partition(b"\0")
            text[key.decode("latin-1")] = zlib.decompress(value[1:]).decode("latin-1")
        elif kind == b"iTXt":
            key, _, rest = body.partition(b"\0")
            value = rest[2:].split(b"\0", 2)[2]
            text[key.decode("latin-1")] = (zlib.decompress(value) if rest[0] else value).decode()
    width, height, depth, colour_type, _, _, interlace = header
    info = {"format": "png", "size": [width, height], "mode": PNG_MODES[colour_type], "text": text}
    if depth == 8 and not interlace:
        info["rows"] = unfilter(zlib.decompress(packed), width, height, PNG_CHANNELS[colour_type])
    return info


def unfilter(raw: bytes, width: int, height: int, channels: int) -> list[bytearray]:
    stride, rows, above = width * channels, [], bytearray(width * channels)
    for y in range(height):
        start = y * (stride + 1)
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for i in range(stride):
            left = row[i - channels] if i >= channels else 0
            corner = above[i - channels] if i >= channels else 0
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = above[i]
            elif kind == 3:
                guess = (left + above[i]) // 2
            elif kind == 4:
                guess = min((left, above[i], corner), key=lambda v, p=left + above[i] - corner: abs(p - v))
            else:
                guess = 0
            row[i] = (row[i] + guess) & 255
        rows.append(row)
        above = row
    return rows


def describe_jpeg(data: bytes) -> dict:
    position = 2
    while position + 9 < len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width, components = struct.unpack_from(">HHB", data, position + 5)
            return {"format": "jpeg", "size": [width, height], "mode": {1: "L", 3: "RGB"}.get(components)}
        position += 2 + length
    return {"format": "jpeg"}


def describe_webp(data: bytes) -> dict:
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (v & 0x3FFF for v in struct.unpack_from("<HH", data, 26))
    return {"format": "webp", "size": [width, height], "animated": kind == b"VP8X" and bool(data[20] & 2)}


def describe_image(data: bytes) -> dict:
    """What can be said of image bytes without an imaging library."""
    if data.startswith(PNG_SIGNATURE):
        return describe_png(data)
    if data.startswith(b"\xff\xd8"):
        return describe_jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return describe_webp(data)
    return {"format": "unknown", "starts_with": data[:16].hex()}


def compare_image(expected: dict, data: bytes, where: str, env: Variables) -> list[str]:
    info = describe_image(data)
    rows = info.pop("rows", None)
    differences = []
    for key in ("format", "size", "mode", "animated"):
        if key in expected:
            differences += compare(expected[key], info.get(key, MISSING), f"{where}.{key}", env)
    if differences:
        return differences
    for key, template in expected.get("text", {}).items():
        value = info.get("text", {}).get(key, MISSING)
        if isinstance(template, dict) and "$json" in template and value is not MISSING:
            template, value = template["$json"], json.loads(value)
        differences += compare(template, value, f"{where}.text.{key}", env)
    if expected.get("no_text"):
        differences += compare({}, info.get("text", {}), f"{where}.text", env)
    tolerance = expected.get("tolerance", 0)
    for x, y, wanted in expected.get("pixels", []):
        channels = len(wanted)
        got = list(rows[y][x * channels : (x + 1) * channels]) if rows else MISSING
        if got is MISSING or any(abs(a - b) > tolerance for a, b in zip(wanted, got, strict=False)):
            differences.append(f"{where}.pixel({x},{y}): expected {wanted}, got {show(got)}")
    return differences


# --------------------------------------------------------------- HTTP steps


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return MISSING


def build_request(step: dict, env: Variables) -> tuple[str, str, dict]:
    """Turn a step into (method, path, arguments for aiohttp)."""
    method, _, path = env.expand(step["http"]).partition(" ")
    arguments: dict[str, Any] = {"headers": dict(env.expand(step.get("headers", {})))}
    if "query" in step:
        arguments["params"] = [(key, str(value)) for key, value in env.expand(step["query"])]
    if "json" in step:
        arguments["data"] = json.dumps(env.expand(step["json"])).encode()
        arguments["headers"].setdefault("Content-Type", "application/json")
    elif "file" in step:
        arguments["data"] = make_file(env.expand(step["file"]))
        arguments["headers"].setdefault("Content-Type", "application/octet-stream")
    elif "form" in step:
        form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
        for part in env.expand(step["form"]):
            if "file" in part:
                form.add_field(
                    part["name"],
                    make_file(part["file"]),
                    filename=part.get("filename"),
                    content_type=part.get("type", "application/octet-stream"),
                )
            else:
                value = part["value"]
                form.add_field(part["name"], value if isinstance(value, str) else json.dumps(value))
        arguments["data"] = form
    return method, path, arguments


def check_answer(expect: dict, answer: Answer, env: Variables) -> list[str]:
    differences = compare(expect.get("status", 200), answer.status, "status", env)
    if differences:
        text = answer.body[:MAX_WIDTH].decode("utf-8", "replace").strip()
        return differences + ([f"body: {text}"] if text else [])
    for name, template in expect.get("headers", {}).items():
        value = answer.headers.get(name.lower(), MISSING)
        if template is None:
            if value is not MISSING:
                differences.append(f"header {name}: expected none, got {show(value)}")
        elif value is MISSING:
            differences.append(f"header {name}: missing")
        else:
            differences += compare(template, value, f"header {name}", env)
    if "json" in expect:
        value = answer.json()
        if value is MISSING:
            differences.append(f"body: expected JSON, got {answer.body[:MAX_WIDTH]!r}")
        else:
            differences += compare(expect["json"], value, "json", env)
    if "text" in expect:
        differences += compare(expect["text"], answer.body.decode("utf-8", "replace"), "body", env)
    if "file" in expect and answer.body != make_file(env.expand(expect["file"])):
        differences.append(f"body: {len(answer.body)} bytes that differ from the expected file")
    if "sha256" in expect:
        differences += compare(expect["sha256"], hashlib.sha256(answer.body).hexdigest(), "body sha256", env)
    if "length" in expect:
        differences += compare(expect["length"], len(answer.body), "body length", env)
    if "image" in expect:
        differences += compare_image(expect["image"], answer.body, "image", env)
    return differences


def look_up(value: Any, path: str) -> Any:
    """Follow "a.b.0.c" into a JSON value; "*" takes the only key or item."""
    for part in path.split(".") if path else []:
        if part == "*":
            value = next(iter(value.values() if isinstance(value, dict) else value))
        elif isinstance(value, list):
            value = value[int(part)]
        else:
            value = value[part]
    return value


# ---------------------------------------------------------- WebSocket steps


def decode_binary(data: bytes) -> dict:
    """Give a binary frame the shape templates are written in."""
    (event,) = struct.unpack_from(">I", data)
    if event == 1:
        (kind,) = struct.unpack_from(">I", data, 4)
        info = describe_image(data[8:])
        info.pop("rows", None)
        return {"binary": 1, "image_type": kind, "image": info}
    if event == 3:
        (length,) = struct.unpack_from(">I", data, 4)
        return {"binary": 3, "node": data[8 : 8 + length].decode(), "text": data[8 + length :].decode()}
    if event == 4:
        (length,) = struct.unpack_from(">I", data, 4)
        info = describe_image(data[8 + length :])
        info.pop("rows", None)
        return {"binary": 4, "metadata": json.loads(data[8 : 8 + length]), "image": info}
    return {"binary": event, "hex": data[4:36].hex()}


class Socket:
    """One open WebSocket whose messages are queued as they arrive."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse):
        self.connection = connection
        self.inbox: asyncio.Queue = asyncio.Queue()
        self.reader = asyncio.create_task(self.read())

    async def read(self) -> None:
        async for message in self.connection:
            if message.type == aiohttp.WSMsgType.TEXT:
                self.inbox.put_nowait(json.loads(message.data))
            elif message.type == aiohttp.WSMsgType.BINARY:
                self.inbox.put_nowait(decode_binary(message.data))
        self.inbox.put_nowait({"closed": True})

    async def next(self, timeout: float) -> Any:
        return await asyncio.wait_for(self.inbox.get(), timeout)

    async def close(self) -> None:
        await self.connection.close()
        self.reader.cancel()
        await asyncio.gather(self.reader, return_exceptions=True)


def label(message: Any) -> str:
    """The name "ignore" and "only" lists use for a message."""
    if "binary" in message:
        return f"binary {message['binary']}"
    return str(message.get("type", "closed"))


def wanted(message: Any, step: dict) -> bool:
    if "only" in step:
        return label(message) in step["only"]
    return label(message) not in step.get("ignore", [])


# ------------------------------------------------------------------ players


@dataclass
class Case:
    path: Path
    about: str
    steps: list[dict]
    tags: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.stem


class Player:
    """Plays the steps of one case."""

    def __init__(self, session: aiohttp.ClientSession, url: str, verbose: bool = False, patience: float = PATIENCE):
        self.session = session
        self.patience = patience
        self.url = url.rstrip("/")
        self.verbose = verbose
        self.env = Variables(URL(self.url).authority)
        self.sockets: dict[str, Socket] = {}

    async def request(self, step: dict) -> Answer:
        method, path, arguments = build_request(step, self.env)
        url = URL(self.url + path, encoded=True)
        if "params" in arguments:
            url = URL(self.url + path).extend_query(arguments.pop("params"))
        async with self.session.request(method, url, allow_redirects=False, **arguments) as response:
            headers = {key.lower(): value for key, value in response.headers.items()}
            return Answer(response.status, headers, await response.read())

    async def play_http(self, step: dict) -> None:
        give_up = time.monotonic() + min(step.get("within", 0), self.patience)
        while True:
            answer = await self.request(step)
            differences = check_answer(step.get("expect", {}), answer, self.env)
            if not differences or time.monotonic() >= give_up:
                break
            await asyncio.sleep(0.05)
        if differences:
            raise StepFailed(differences)
        for name, path in step.get("save", {}).items():
            source = answer.headers if path.startswith("header ") else answer.json()
            key = path.removeprefix("header ").lower() if path.startswith("header ") else path
            try:
                self.env.values[name] = source[key] if source is answer.headers else look_up(source, key)
            except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
                raise StepFailed([f"cannot save {name} from {path}: {error!r}"]) from error

    async def play_ws(self, step: dict) -> None:
        action, name = step["ws"], step.get("as", "a")
        if action == "open":
            await self.open_socket(name, step)
            return
        socket = self.sockets[name]
        if action == "send":
            text = step["text"] if "text" in step else json.dumps(self.env.expand(step["json"]))
            await socket.connection.send_str(text)
        elif action == "close":
            await self.sockets.pop(name).close()
        elif action == "expect":
            messages = await self.collect(socket, step)
            self.check_messages(step, messages)
        elif action == "quiet":
            messages = await self.collect_for(socket, step["for"], step)
            if messages:
                raise StepFailed([f"unexpected message {show(message)}" for message in messages])
        else:
            raise CaseError(f"unknown WebSocket action {action!r}")

    async def open_socket(self, name: str, step: dict) -> None:
        path = step.get("path", "/ws")
        if step.get("client_id") is not None:
            path += "?clientId=" + self.env.expand(step["client_id"])
        self.sockets[name] = Socket(await self.session.ws_connect(self.url + path, max_msg_size=0))

    async def collect(self, socket: Socket, step: dict) -> list:
        """Take messages up to the one that matches "until"."""
        messages, until = [], step["until"]
        give_up = time.monotonic() + self.patience
        while True:
            try:
                message = await socket.next(max(give_up - time.monotonic(), 0.001))
            except TimeoutError:
                seen = [f"  seen: {show(message)}" for message in messages[-6:]]
                raise StepFailed([f"no message matching {show(self.env.expand(until))} came", *seen]) from None
            if self.verbose:
                say(f"        <- {show(message)}")
            if wanted(message, step):
                messages.append(message)
            if not compare(until, message, "", self.env):
                return messages
            if "closed" in message:
                raise StepFailed(["the server closed the WebSocket"])

    async def collect_for(self, socket: Socket, seconds: float, step: dict) -> list:
        messages, give_up = [], time.monotonic() + seconds
        while True:
            try:
                message = await socket.next(max(give_up - time.monotonic(), 0.001))
            except TimeoutError:
                return messages
            if wanted(message, step):
                messages.append(message)

    def check_messages(self, step: dict, messages: list) -> None:
        expected = step.get("messages")
        if expected is not None:
            if step.get("order", "exact") == "any":
                expected = {"$unordered": expected}
            differences = compare(expected, messages, "message", self.env)
            if differences:
                order = " ".join(label(message) for message in messages)
                raise StepFailed([*differences, f"messages came as: {order}"])
        for name, path in step.get("save", {}).items():
            try:
                self.env.values[name] = look_up(messages, path)
            except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
                raise StepFailed([f"cannot save {name} from messages {path}: {error!r}"]) from error

    async def play_step(self, step: dict) -> None:
        if "http" in step:
            await self.play_http(step)
        elif "ws" in step:
            await self.play_ws(step)
        elif "sleep" in step:
            await asyncio.sleep(step["sleep"])
        elif "idle" in step:
            await self.wait_idle()
        else:
            raise CaseError(f"step has none of http, ws, sleep, idle: {show(step)}")

    async def wait_idle(self) -> None:
        """Wait until nothing runs and nothing is queued."""
        give_up = time.monotonic() + IDLE_TIMEOUT
        while True:
            answer = await self.request({"http": "GET /prompt"})
            info = answer.json()
            try:
                remaining = info["exec_info"]["queue_remaining"]
            except (KeyError, TypeError):
                raise StepFailed([f"GET /prompt gave no queue_remaining: {show(info)}"]) from None
            if remaining == 0:
                return
            if time.monotonic() > give_up:
                raise StepFailed([f"the queue still holds {remaining} after {IDLE_TIMEOUT:.0f} s"])
            await asyncio.sleep(0.05)

    async def clean_up(self, failed: bool) -> None:
        for socket in self.sockets.values():
            await socket.close()
        if failed:
            await self.request({"http": "POST /queue", "json": {"clear": True}})
            await self.request({"http": "POST /interrupt"})


def headline(step: dict) -> str:
    if "http" in step:
        return step["http"]
    if "ws" in step:
        return f"WebSocket {step.get('as', 'a')} {step['ws']}"
    return next(iter(step))


async def play_case(case: Case, session: aiohttp.ClientSession, url: str, verbose: bool, patience: float) -> list[str]:
    """Play one case; return the lines that describe its failure, if any."""
    player, failure, position = Player(session, url, verbose, patience), [], 0
    try:
        await player.wait_idle()
        for position, step in enumerate(case.steps, 1):
            if verbose:
                say(f"    {position:2} {headline(step)}")
            await player.play_step(step)
    except StepFailed as error:
        step = case.steps[position - 1] if position else {"before the first step": 0}
        lines = error.differences[:MAX_DIFFERENCES]
        if len(error.differences) > MAX_DIFFERENCES:
            lines.append(f"... and {len(error.differences) - MAX_DIFFERENCES} more differences")
        failure = [f"  step {position}: {player.env.expand(headline(step))}"]
        failure += [f"  note: {step['note']}"] if "note" in step else []
        failure += [f"    {line}" for line in lines]
    except (
        TimeoutError,
        aiohttp.ClientError,
        ConnectionError,
        CaseError,
        KeyError,
        struct.error,
        zlib.error,
        UnicodeDecodeError,
        IndexError,
        TypeError,
    ) as error:
        failure = [f"  step {position}: {type(error).__name__}: {error}"]
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, ConnectionError):
        await player.clean_up(bool(failure))
    return failure


# --------------------------------------------------------------------- main


def load_cases(folder: Path, text: str, skip: list[str]) -> Iterator[Case]:
    for path in sorted(folder.glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        case = Case(path, data.get("about", ""), data["steps"], data.get("tags", []))
        if text in case.name and not set(skip) & set(case.tags):
            yield case


async def run(arguments: argparse.Namespace) -> int:
    cases = list(load_cases(arguments.cases, arguments.k, arguments.skip))
    passed = failed = 0
    timeout = aiohttp.ClientTimeout(total=arguments.timeout)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=True) as session:
        for case in cases:
            if arguments.verbose:
                say(f"play {case.name}: {case.about}")
            started = time.monotonic()
            failure = await play_case(case, session, arguments.url, arguments.verbose, arguments.patience)
            if failure:
                failed += 1
                say(f"FAIL {case.name}: {case.about}")
                say("\n".join(failure))
                if arguments.fail_fast:
                    break
            else:
                passed += 1
                if arguments.verbose:
                    say(f"ok   {case.name} ({time.monotonic() - started:.1f} s)")
    say(f"{passed} passed, {failed} failed")
    return 1 if failed or not cases else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True, help="base address of the server, e.g. http://127.0.0.1:8188")
    parser.add_argument(
        "--cases",
        type=Path,
        default=Path(__file__).with_name("cases"),
        metavar="DIR",
        help="folder of case files (default: cases next to this file)",
    )
    parser.add_argument("-k", default="", metavar="TEXT", help="play only the cases whose name contains TEXT")
    parser.add_argument("--skip", action="append", default=[], metavar="TAG", help="leave out cases with this tag")
    parser.add_argument("-x", "--fail-fast", action="store_true", help="stop at the first failing case")
    parser.add_argument("--timeout", type=float, default=60, metavar="S", help="seconds one request may take")
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="S",
        help="seconds to wait for a WebSocket message or a polled answer",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print every step and WebSocket message")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
