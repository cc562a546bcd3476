"""GET and POST /prompt."""

from __future__ import annotations

from aiohttp import web

from server.bodies import read_object
from server.state import front, space

ROUTES = web.RouteTableDef()


@ROUTES.get("/prompt")
async def get_prompt(request: web.Request) -> web.Response:
    """Tell how many prompts wait or run."""
    return web.json_response({"exec_info": {"queue_remaining": front(request).store.remaining(space(request).owner)}})


@ROUTES.post("/prompt")
async def post_prompt(request: web.Request) -> web.Response:
    """Queue a prompt; one that repeats another, by its Idempotency-Key or prompt_id, gets that one's answer."""
    key = request.headers.get("Idempotency-Key")
    body = await read_object(request)
    return web.json_response(await front(request).submission.accept(body, key, space(request).mark))
