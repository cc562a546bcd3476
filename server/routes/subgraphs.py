"""/global_subgraphs: reusable parts of workflows that packs bring along."""

from __future__ import annotations

import asyncio

from aiohttp import web

from server.state import front

ROUTES = web.RouteTableDef()


@ROUTES.get("/global_subgraphs")
async def get_subgraphs(request: web.Request) -> web.Response:
    """List the subgraphs of all packs by id."""
    found = await asyncio.to_thread(front(request).pack_files.subgraphs)
    return web.json_response({key: shown for key, (shown, _) in found.items()})


@ROUTES.get("/global_subgraphs/{id}")
async def get_subgraph(request: web.Request) -> web.Response:
    """Show one subgraph with its text; null if there is none of that id."""
    return web.json_response(await asyncio.to_thread(front(request).pack_files.subgraph, request.match_info["id"]))
