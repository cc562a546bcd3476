"""The root page and the files of the web front end."""

from __future__ import annotations

import asyncio

from aiohttp import web

from server.page import root_page
from server.routes.packs import file_or_route
from server.state import front
from server.strays import methods_of

ROUTES = web.RouteTableDef()
FILES = web.RouteTableDef()
"""Files of the front end, without /api twins; the last row takes every path that no other route knows."""

UNCACHED = {"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "0"}


@ROUTES.get("/")
async def get_root(request: web.Request) -> web.Response:
    """Show the web front end, or without one the page of this server."""
    path = await asyncio.to_thread(front(request).web.page, "index.html")
    body = root_page().encode() if path is None else await asyncio.to_thread(path.read_bytes)
    return web.Response(body=body, headers={"Content-Type": "text/html", **UNCACHED})


@FILES.get("/templates/{name:.+}")
async def get_template(request: web.Request) -> web.StreamResponse:
    """Show a workflow template, its picture, or the list of them: of the installed package, or else the demo's."""
    return await file_or_route(request, front(request).web.template, request.match_info["name"])


@FILES.get("/docs/{name:.+}")
async def get_document(request: web.Request) -> web.StreamResponse:
    """Show a page of help on a node, or a picture in it."""
    return await file_or_route(request, front(request).web.document, request.match_info["name"])


@FILES.get("/{name:.+}")
async def get_file(request: web.Request) -> web.StreamResponse:
    """Show a file of the web front end; without one, a pack may have a route of this address; else 404, or 405."""
    name = request.match_info["name"]
    if name == "index.html":
        return await get_root(request)
    try:
        return await file_or_route(request, front(request).web.page, name)
    except web.HTTPNotFound as error:
        methods = await methods_of(request.app, request) if request.method == "GET" else None
        if methods:
            raise web.HTTPMethodNotAllowed("GET", methods) from error
        raise
