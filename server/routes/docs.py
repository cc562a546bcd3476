"""GET /openapi.json and /docs/api: the interface described, for programs and for people."""

from __future__ import annotations

from aiohttp import web

from server.openapi.document import document
from server.openapi.page import page

ROUTES = web.RouteTableDef()


@ROUTES.get("/openapi.json")
async def get_openapi(request: web.Request) -> web.Response:
    """Show the OpenAPI document of everything that is served."""
    return web.json_response(document(request.app))


@ROUTES.get("/docs/api")
async def get_docs(request: web.Request) -> web.Response:
    """Show the same document as a page."""
    return web.Response(text=page(document(request.app)), content_type="text/html")
