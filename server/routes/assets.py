"""/api/assets and /api/tags: the store of assets that newer servers have. This one has none, and says so.

The feature flag `assets` is not set, so the front end does not ask; a client that does gets the answer of a server
whose store is switched off (reference/http_api.md section 9). These routes are written with /api and have no twin.
"""

from __future__ import annotations

from aiohttp import web

ROUTES = web.RouteTableDef()


@ROUTES.get("/api/assets")
@ROUTES.post("/api/assets")
@ROUTES.get("/api/assets/{id}")
@ROUTES.get("/api/tags")
async def refuse_assets(request: web.Request) -> web.Response:
    """Tell that there is no store of assets."""
    error = {"code": "SERVICE_DISABLED", "message": "this server keeps no store of assets", "details": {}}
    return web.json_response({"error": error}, status=503)
