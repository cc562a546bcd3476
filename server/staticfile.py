"""A file of the web front end as an answer: its type, what a browser may keep, and 304 if it has it already.

A start of the front end asks for some 450 small files at once; each costs one visit to a thread, in which it is read
whole. What is large, or what a player seeks in, goes out in pieces. Knows no routes and no folders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from server import media
from server.middleware import PICTURES

WHOLE_BYTES = 1 << 20
"""Larger files are sent in pieces."""
SOUGHT = ("video/", "audio/")
"""Types of which players ask for ranges."""


@dataclass(frozen=True, slots=True)
class _Read:
    path: Path
    body: bytes | None  # None: to be sent in pieces
    etag: str
    modified_s: float


async def send(request: web.Request, find: Callable[[str], Path | None], name: str) -> web.StreamResponse:
    """Answer with the file that `find` has for a name; HTTPNotFound without one. `find` and reading run in a thread."""
    found = await asyncio.to_thread(_read, find, name)
    if found is None:
        raise web.HTTPNotFound
    headers = {"Content-Type": media.content_type(found.path.name)}
    if not found.path.name.lower().endswith(PICTURES):
        headers["Cache-Control"] = "no-cache"  # to be kept, and asked after each time: the next version has other files
    if found.body is None:
        return web.FileResponse(found.path, headers=headers)
    if _has(request, found):
        del headers["Content-Type"]
        response = web.Response(status=304, headers=headers)
    else:
        response = web.Response(body=found.body, headers=headers)
    response.etag = found.etag
    response.last_modified = found.modified_s
    return response


def _read(find: Callable[[str], Path | None], name: str) -> _Read | None:
    path = find(name)
    if path is None:
        return None
    state = path.stat()
    whole = state.st_size <= WHOLE_BYTES and not media.content_type(path.name).startswith(SOUGHT)
    etag = f"{state.st_mtime_ns:x}-{state.st_size:x}"
    return _Read(path, path.read_bytes() if whole else None, etag, state.st_mtime)


def _has(request: web.Request, found: _Read) -> bool:
    """Tell whether who asks has the file as it is (RFC 9110 section 13.2.2: the tag decides, if one is sent)."""
    tags = request.if_none_match
    if tags is not None:
        return any(tag.value in ("*", found.etag) for tag in tags)
    since = request.if_modified_since
    return since is not None and int(found.modified_s) <= since.timestamp()
