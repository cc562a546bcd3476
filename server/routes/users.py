"""/users and /settings."""

from __future__ import annotations

import asyncio

from aiohttp import web

from executor.errors import BadInput
from server.bodies import read_json, read_object
from server.largejson import dumped
from server.state import space

ROUTES = web.RouteTableDef()


@ROUTES.get("/users")
async def get_users(request: web.Request) -> web.Response:
    """Tell where settings are kept, and on a multi-user server who there is."""
    users = space(request).users
    if users.multi_user:
        return web.json_response({"storage": "server", "users": await asyncio.to_thread(users.known)})
    return web.json_response({"storage": "server", "migrated": await asyncio.to_thread(users.migrated)})


@ROUTES.post("/users")
async def post_users(request: web.Request) -> web.Response:
    """Add a user; the answer is the new id."""
    body = await read_object(request)
    name = body.get("username")
    if not isinstance(name, str):
        raise BadInput("username must be a text")
    try:
        return web.json_response(await asyncio.to_thread(space(request).users.add, name))
    except BadInput as error:
        return web.json_response({"error": str(error)}, status=400)


@ROUTES.get("/settings")
async def get_settings(request: web.Request) -> web.Response:
    """Show all settings of the user."""
    users = space(request).users
    user = users.user_of(request.headers)
    body = await asyncio.to_thread(lambda: dumped(users.settings(user)))
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@ROUTES.get("/settings/{id}")
async def get_setting(request: web.Request) -> web.Response:
    """Show one setting of the user; null if it was never set."""
    users = space(request).users
    settings = await asyncio.to_thread(users.settings, users.user_of(request.headers))
    return web.json_response(settings.get(request.match_info["id"]))


@ROUTES.post("/settings")
async def post_settings(request: web.Request) -> web.Response:
    """Merge the body into the user's settings."""
    users = space(request).users
    user, changes = users.user_of(request.headers), await read_object(request)
    await asyncio.to_thread(users.change_settings, user, changes)
    return web.Response()


@ROUTES.post("/settings/{id}")
async def post_setting(request: web.Request) -> web.Response:
    """Set one setting of the user to the body."""
    users = space(request).users
    user, value = users.user_of(request.headers), await read_json(request)
    await asyncio.to_thread(users.change_settings, user, {request.match_info["id"]: value})
    return web.Response()
