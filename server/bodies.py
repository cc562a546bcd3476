"""Reads request bodies and query values, and refuses what is none. Knows no routes."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Mapping

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import FileField

from executor.errors import BadInput
from executor.graph.prompt import require_object
from server import largejson
from server.turns import turns

PATIENCE_S = 60.0
"""How long a body may stop in the middle."""
WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""How bodies may be packed, as zlib names it."""

MOST_TEXTS = 20_000
"""Ids that one request may name: as many as prompts may wait, or a prompt may have nodes."""
LARGEST_NUMBER = 10**18 - 1
LONGEST_SHOWN = 100

Fields = Mapping[str, str | bytes | bytearray | FileField]


async def read_json(request: web.Request, empty: object = None) -> object:
    """The body as JSON, whatever its content type says; BadInput if it is none.

    `empty` is what no body at all stands for, if anything; HTTPRequestEntityTooLarge for more bytes than JSON may have.
    """
    body = await read_bytes(request, largejson.MOST_BYTES)
    if not body and empty is not None:
        return empty
    try:
        if len(body) <= largejson.QUICK_BYTES:
            value: object = json.loads(body)
            return value
        return await turns(request).text(largejson.read, body)
    except RecursionError as error:
        raise BadInput("the body is nested too deeply") from error
    except ValueError as error:
        raise BadInput(f"the body is not valid JSON: {error}") from error


async def read_bytes(request: web.Request, most: int) -> bytes:
    """The body, unpacked, at most so many bytes and as many as any body may have.

    HTTPRequestEntityTooLarge for more; BadInput where none come for PATIENCE_S, or they are packed in an unknown way.
    """
    most = min(most, request.client_max_size or most)
    if (request.content_length or 0) > most:
        raise too_large(most)
    parts: list[bytes] = []
    size = 0
    try:
        while part := await _next_part(request.content):
            parts.append(part)
            size += len(part)
            if size > most:
                raise too_large(most)
    except TimeoutError as error:
        raise BadInput(f"the body stops short: nothing came for {PATIENCE_S:g} s") from error
    packing = request.headers.get("Content-Encoding", "").strip().lower()
    body = b"".join(parts)
    return body if packing in ("", "identity") else await turns(request).text(unpacked, body, packing, most)


async def _next_part(content: StreamReader) -> bytes:
    """The next bytes of a body, none at its end; TimeoutError where none come for PATIENCE_S."""
    if content.is_eof():  # all of it is here: nothing to wait for
        return content.read_nowait()
    return await asyncio.wait_for(content.readany(), PATIENCE_S)


def unpacked(body: bytes, packing: str, most: int) -> bytes:
    """What a body packed by gzip or deflate holds; errors as `read_bytes`. Belongs in a thread."""
    if packing not in WINDOWS:
        raise BadInput(f"a body packed by {packing!r} cannot be read; there are {', '.join(WINDOWS)}")
    unpacker = zlib.decompressobj(WINDOWS[packing])
    try:
        found = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise BadInput(f"the body is not packed by {packing}: {error}") from error
    if len(found) > most:
        raise too_large(most)
    if not unpacker.eof:
        raise BadInput(f"the body stops short of the end of its {packing}")
    return found


def too_large(most: int) -> web.HTTPRequestEntityTooLarge:
    """The refusal of a body of more than so many bytes."""
    return web.HTTPRequestEntityTooLarge(max_size=most)


async def read_object(request: web.Request) -> dict[str, object]:
    """The body as a JSON object; BadInput if it is none."""
    return require_object(await read_json(request), "the body")


async def read_form(request: web.Request) -> Fields:
    """The fields of a form, files among them; BadInput for a form that cannot be read, no fields without a form."""
    if not request.content_type.startswith("multipart/"):
        return {}
    if request.headers.get("Content-Encoding"):
        raise BadInput("a form is read as it is, without Content-Encoding")
    try:
        return dict(await request.post())
    except (ValueError, LookupError, EOFError, HttpProcessingError) as error:
        raise BadInput(f"the form cannot be read: {error}") from error


def whole_number(request: web.Request, name: str) -> int | None:
    """A query value as an integer, None when it is not given; BadInput if it is no integer."""
    text = request.query.get(name)
    if text is None or text == "":
        return None
    try:
        number = int(text)
    except ValueError as error:
        raise BadInput(f"{name} must be a whole number, not {text[:LONGEST_SHOWN]!r}") from error
    if abs(number) > LARGEST_NUMBER:
        raise BadInput(f"{name} must be a whole number of at most 18 digits")
    return number


def texts(value: object, what: str) -> list[str]:
    """A JSON list of texts (other scalars are written out); BadInput if `value` is none."""
    if not isinstance(value, list) or any(isinstance(item, dict | list) for item in value):
        raise BadInput(f"{what} must be a list of texts")
    if len(value) > MOST_TEXTS:
        raise BadInput(f"{what} names {len(value)}; at most {MOST_TEXTS} at once")
    return [item if isinstance(item, str) else str(item) for item in value]
