"""GET /object_info and /object_info/{class}."""

from __future__ import annotations

from aiohttp import web

from server.state import front, space

ROUTES = web.RouteTableDef()


@ROUTES.get("/object_info")
async def get_object_info(request: web.Request) -> web.Response:
    """Describe every node class."""
    own = space(request)
    await front(request).renewal.renew(own.mark)
    body = await front(request).definitions.object_info(own.folders, own.mark)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@ROUTES.get("/object_info/{name}")
async def get_object_info_of(request: web.Request) -> web.Response:
    """Describe one node class; an empty object if there is none of that name."""
    own = space(request)
    await front(request).renewal.renew(own.mark)
    body = await front(request).definitions.object_info_of(request.match_info["name"], own.folders, own.mark)
    return web.Response(body=body, content_type="application/json", charset="utf-8")
