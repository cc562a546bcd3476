"""GET /object_info and /object_info/{class}."""

from __future__ import annotations

from aiohttp import web

from server.state import front

ROUTES = web.RouteTableDef()


@ROUTES.get("/object_info")
async def get_object_info(request: web.Request) -> web.Response:
    """Describe every node class."""
    await front(request).renewal.renew()
    body = await front(request).definitions.object_info()
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@ROUTES.get("/object_info/{name}")
async def get_object_info_of(request: web.Request) -> web.Response:
    """Describe one node class; an empty object if there is none of that name."""
    await front(request).renewal.renew()
    body = await front(request).definitions.object_info_of(request.match_info["name"])
    return web.Response(body=body, content_type="application/json", charset="utf-8")
