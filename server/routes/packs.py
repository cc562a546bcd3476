"""What packs bring: GET /weft/packs, /extensions, /workflow_templates, /i18n, and routes of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from executor.errors import NotReady
from executor.short_paths import ShortPaths
from server import packfiles, staticfile
from server.spaces import KEY
from server.state import front, space

ROUTES = web.RouteTableDef()
FILES = web.RouteTableDef()
"""Files of packs, without /api twins."""


@ROUTES.get("/weft/packs")
async def get_packs(request: web.Request) -> web.Response:
    """Show every pack: whether it loaded, its nodes, its error, what it asked for and did not get."""
    here = front(request)
    if here.packs.had_routes is None and not await here.packs.arrived(here.settings.startup_wait_s):
        raise NotReady("the worker that loads the packs is still starting")
    body = here.packs.told.report_json
    key = request.get(KEY)
    if key is not None and "manage" not in key.scopes:  # where the packs lie is their owner's business
        short = ShortPaths(here.settings, space(request).folders)
        body = json.dumps(short.value(json.loads(body))).encode()
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@ROUTES.get("/extensions")
async def get_extensions(request: web.Request) -> web.Response:
    """List the scripts that the front end imports at its start: its own, and those of packs."""
    here = front(request)
    own = await asyncio.to_thread(here.web.extensions)
    if not here.definitions.known() and await asyncio.to_thread(here.pack_files.any):
        await here.packs.arrived(here.settings.startup_wait_s)
    return web.json_response(own + await asyncio.to_thread(packfiles.scripts, here.packs.told.web_dirs))


@ROUTES.get("/workflow_templates")
async def get_workflow_templates(request: web.Request) -> web.Response:
    """List the example workflows of each pack."""
    return web.json_response(await asyncio.to_thread(front(request).pack_files.examples))


@ROUTES.get("/i18n")
async def get_i18n(request: web.Request) -> web.Response:
    """Show the translations that packs bring, by language."""
    return web.json_response(await asyncio.to_thread(front(request).pack_files.translations))


@FILES.get("/extensions/{name:.+}")
async def get_extension(request: web.Request) -> web.StreamResponse:
    """Show a file that a pack brings for the front end, or one of the front end's own extensions."""
    here = front(request)

    def find(name: str) -> Path | None:
        return packfiles.web_file(here.packs.told.web_dirs, name) or here.web.page(f"extensions/{name}")

    return await file_or_route(request, find, request.match_info["name"])


@FILES.get("/api/workflow_templates/{pack}/{name:.+}")
async def get_workflow_template(request: web.Request) -> web.StreamResponse:
    """Show an example workflow of a pack, or its picture."""
    name = f"{request.match_info['pack']}/{request.match_info['name']}"
    return await file_or_route(request, front(request).pack_files.example, name)


# ---------------------------------------------------------------- routes of packs


async def _of_a_pack(request: web.Request) -> web.StreamResponse | None:
    """The answer of a pack's route; none where keys separate: the code of packs knows no keys and tells all."""
    return await front(request).proxy.answer(request) if space(request).is_whole else None


async def file_or_route(request: web.Request, find: Callable[[str], Path | None], name: str) -> web.StreamResponse:
    """Answer with a file; without one, as a pack does that has a route of this address; HTTPNotFound without either."""
    try:
        return await staticfile.send(request, find, name)
    except web.HTTPNotFound:
        answer = await _of_a_pack(request)
        if answer is None:
            raise
        return answer


@web.middleware
async def pack_routes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Hand a request that no route of the front takes to the packs."""
    if request.match_info.http_exception is not None:
        answer = await _of_a_pack(request)
        if answer is not None:
            return answer
    return await handler(request)
