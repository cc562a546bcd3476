"""The tables of routes. One file per topic; `ALL` gets an /api twin for each route, `BARE` does not."""

from __future__ import annotations

from aiohttp import web

from server.routes import files, history, internal, models, nodes, pages, prompt, queue, system, userdata, users, ws

ALL: tuple[web.RouteTableDef, ...] = (
    prompt.ROUTES,
    queue.ROUTES,
    history.ROUTES,
    nodes.ROUTES,
    files.ROUTES,
    models.ROUTES,
    system.ROUTES,
    ws.ROUTES,
    users.ROUTES,
    userdata.ROUTES,
    pages.ROUTES,
)
BARE: tuple[web.RouteTableDef, ...] = (internal.ROUTES,)
