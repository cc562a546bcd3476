"""/global_subgraphs: reusable parts of workflows that packs bring along."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from aiohttp import web

from server.state import front

ROUTES = web.RouteTableDef()

Subgraphs = dict[str, tuple[dict[str, object], Path]]


@ROUTES.get("/global_subgraphs")
async def get_subgraphs(request: web.Request) -> web.Response:
    """List the subgraphs of all packs by id."""
    found = await asyncio.to_thread(_found, front(request).folders.paths("custom_nodes"))
    return web.json_response({key: shown for key, (shown, _) in found.items()})


@ROUTES.get("/global_subgraphs/{id}")
async def get_subgraph(request: web.Request) -> web.Response:
    """Show one subgraph with its text; null if there is none of that id."""
    folders = front(request).folders.paths("custom_nodes")
    return web.json_response(await asyncio.to_thread(_whole, folders, request.match_info["id"]))


def _found(folders: list[Path]) -> Subgraphs:
    """Every `<pack>/subgraphs/*.json`; an id is the SHA-256 of pack and name, so that it outlives a move."""
    found: Subgraphs = {}
    for path in sorted(path for folder in folders for path in folder.glob("*/subgraphs/*.json")):
        pack = path.parents[1].name
        key = hashlib.sha256(f"{pack}/{path.stem}".encode()).hexdigest()
        found[key] = {"source": "custom_node", "name": path.stem, "info": {"node_pack": pack}}, path
    return found


def _whole(folders: list[Path], key: str) -> dict[str, object] | None:
    found = _found(folders).get(key)
    if found is None:
        return None
    shown, path = found
    try:
        return {**shown, "data": path.read_text(encoding="utf-8")}
    except (OSError, ValueError):
        return None
