"""The tables of routes. One file per topic; `ALL` gets an /api twin for each route, `BARE` does not."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from server.routes import (
    assets,
    docs,
    events,
    files,
    history,
    internal,
    jobs,
    models,
    nodes,
    packs,
    pages,
    profile,
    prompt,
    queue,
    retention,
    run,
    subgraphs,
    system,
    userdata,
    users,
    ws,
)

ALL: tuple[web.RouteTableDef, ...] = (
    prompt.ROUTES,
    run.ROUTES,
    queue.ROUTES,
    history.ROUTES,
    nodes.ROUTES,
    files.ROUTES,
    models.ROUTES,
    system.ROUTES,
    ws.ROUTES,
    jobs.WEFT,
    events.ROUTES,
    retention.ROUTES,
    profile.ROUTES,
    users.ROUTES,
    userdata.ROUTES,
    subgraphs.ROUTES,
    packs.ROUTES,
    pages.ROUTES,
)
BARE: tuple[Iterable[web.AbstractRouteDef], ...] = (
    internal.ROUTES,
    jobs.ROUTES,
    assets.ROUTES,
    docs.ROUTES,
    packs.FILES,
    pages.FILES,
)
