"""GET and POST /history."""

from __future__ import annotations

from aiohttp import web

from executor.queue.job import history_json
from server.bodies import read_object, texts, whole_number
from server.state import front

ROUTES = web.RouteTableDef()


@ROUTES.get("/history")
async def get_history(request: web.Request) -> web.Response:
    """List finished prompts in order of completion, or a window of them."""
    max_items, offset = whole_number(request, "max_items"), whole_number(request, "offset")
    entries = await front(request).store.history(max_items, -1 if offset is None else offset)
    return web.Response(body=history_json(entries), content_type="application/json", charset="utf-8")


@ROUTES.get("/history/{prompt_id}")
async def get_history_of(request: web.Request) -> web.Response:
    """Show one finished prompt; an empty object if there is none of that id."""
    entry = await front(request).store.history_of(request.match_info["prompt_id"])
    body = history_json([] if entry is None else [entry])
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@ROUTES.post("/history")
async def post_history(request: web.Request) -> web.Response:
    """Forget finished prompts: all of them, or those listed."""
    body = await read_object(request)
    store = front(request).store
    ids = texts(body["delete"], "delete") if body.get("delete") is not None else []
    if body.get("clear"):
        await store.clear_history()
    if ids:
        await store.delete_history(ids)
    return web.Response()
