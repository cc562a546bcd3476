"""GET and POST /history."""

from __future__ import annotations

from aiohttp import web

from server.bodies import read_object, texts, whole_number
from server.state import front, space

ROUTES = web.RouteTableDef()


@ROUTES.get("/history")
async def get_history(request: web.Request) -> web.Response:
    """List finished prompts in order of completion, or a window of them."""
    max_items, offset = whole_number(request, "max_items"), whole_number(request, "offset")
    body = await front(request).store.past.text(max_items, -1 if offset is None else offset, space(request).owner)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@ROUTES.get("/history/{prompt_id}")
async def get_history_of(request: web.Request) -> web.Response:
    """Show one finished prompt; an empty object if there is none of that id."""
    body = await front(request).store.past.text_of(request.match_info["prompt_id"], space(request).owner)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@ROUTES.post("/history")
async def post_history(request: web.Request) -> web.Response:
    """Forget finished prompts: all of them, or those listed."""
    body = await read_object(request)
    store, owner = front(request).store, space(request).owner
    ids = texts(body["delete"], "delete") if body.get("delete") is not None else []
    if body.get("clear"):
        await store.clear_history(owner)
    if ids:
        await store.delete_history(ids, owner)
    return web.Response()
