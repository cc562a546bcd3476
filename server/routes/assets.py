"""/api/assets and /api/tags: the store of assets that newer servers have. This one has none, and says so.

The feature flag `assets` is not set, so the front end does not ask; a client that does gets the answer of a server
whose store is switched off, whatever it asks for (reference/http_api.md section 9). These routes are written with
/api and have no twin.
"""

from __future__ import annotations

from aiohttp import web

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PATHS = ("/api/assets", "/api/assets/{rest:(?s:.+)}", "/api/tags", "/api/tags/{rest:(?s:.+)}")


async def refuse_assets(request: web.Request) -> web.Response:
    """Tell that there is no store of assets."""
    error = {"code": "SERVICE_DISABLED", "message": "this server keeps no store of assets", "details": {}}
    return web.json_response({"error": error}, status=503)


ROUTES: tuple[web.RouteDef, ...] = (
    *(web.RouteDef(method, path, refuse_assets, {}) for path in PATHS for method in METHODS),
    *(web.RouteDef("HEAD", path, refuse_assets, {}) for path in PATHS),
)
