"""GET and POST /queue, POST /interrupt, POST /free."""

from __future__ import annotations

from aiohttp import web

from executor.errors import BadInput
from server.bodies import read_json, read_object, texts
from server.state import front, space

ROUTES = web.RouteTableDef()


@ROUTES.get("/queue")
async def get_queue(request: web.Request) -> web.Response:
    """List what runs and what waits."""
    body = front(request).queue.text(space(request).owner)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@ROUTES.post("/queue")
async def post_queue(request: web.Request) -> web.Response:
    """Remove waiting prompts: all of them, or those listed."""
    body = await read_object(request)
    dispatcher, owner = front(request).dispatcher, space(request).owner
    ids = texts(body["delete"], "delete") if body.get("delete") is not None else []
    if body.get("clear"):
        await dispatcher.clear(owner)
    if ids:
        await dispatcher.delete(ids, owner)
    return web.Response()


@ROUTES.post("/interrupt")
async def post_interrupt(request: web.Request) -> web.Response:
    """Stop the running prompt, or one by id only if it runs; a body is optional."""
    try:
        body = await read_json(request, empty={})
    except (BadInput, web.HTTPRequestEntityTooLarge):
        body = {}
    wanted = body.get("prompt_id") if isinstance(body, dict) else None
    force = isinstance(body, dict) and body.get("force") is True
    chosen = None if wanted is None else str(wanted)
    front(request).dispatcher.interrupt(chosen, force=force, owner=space(request).owner)
    return web.Response()


@ROUTES.post("/free")
async def post_free(request: web.Request) -> web.Response:
    """Unload models, and with `free_memory` drop every cached result."""
    body = await read_object(request)
    models, cache = body.get("unload_models", False), body.get("free_memory", False)
    if isinstance(models, dict | list) or isinstance(cache, dict | list):
        raise BadInput("unload_models and free_memory must be true or false")
    front(request).dispatcher.free(models=bool(models), cache=bool(cache))
    return web.Response()
