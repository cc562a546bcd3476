"""/internal/*: what only the front end asks for. These routes have no /api twin."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aiohttp import web

from executor.files import ROOTS, Folders, Root
from server.bodies import read_object
from server.logbook import terminal_size
from server.state import front, path_text, space

ROUTES = web.RouteTableDef()


@ROUTES.get("/internal/logs")
async def get_logs(request: web.Request) -> web.Response:
    """Show the remembered log lines as one text."""
    entries = front(request).logbook.entries()
    return web.json_response("".join(f"{entry['t']} - {entry['m']}" for entry in entries))


@ROUTES.get("/internal/logs/raw")
async def get_raw_logs(request: web.Request) -> web.Response:
    """List the remembered log lines."""
    return web.json_response({"entries": front(request).logbook.entries(), "size": terminal_size()})


@ROUTES.patch("/internal/logs/subscribe")
async def subscribe(request: web.Request) -> web.Response:
    """Start or stop sending new log lines to a websocket client."""
    body = await read_object(request)
    front(request).hub.read_log(str(body.get("clientId")), enabled=bool(body.get("enabled")))
    return web.Response()


@ROUTES.get("/internal/folder_paths")
async def get_folder_paths(request: web.Request) -> web.Response:
    """List the folders of each kind of model."""
    folders, shown = space(request).folders, path_text(request)
    return web.json_response({kind: [shown(path) for path in folders.paths(kind)] for kind in folders.kinds()})


@ROUTES.get("/internal/files/{root}")
async def get_files(request: web.Request) -> web.Response:
    """List the files directly in a data folder, newest first."""
    wanted = request.match_info["root"]
    for root in ROOTS:
        if root == wanted:
            return web.json_response(await asyncio.to_thread(_newest_first, space(request).folders, root))
    return web.json_response({"error": "Invalid directory type"}, status=400)


def _newest_first(folders: Folders, root: Root) -> list[str]:
    found: list[tuple[int, str]] = []
    for entry in folders.entries(root):
        with suppress(OSError):  # it has gone meanwhile
            if entry.is_file() and not entry.name.startswith("."):
                found.append((entry.stat().st_mtime_ns, entry.name))
    return [name for _, name in sorted(found, key=lambda each: -each[0])]
