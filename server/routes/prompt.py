"""GET and POST /prompt."""

from __future__ import annotations

from aiohttp import web

from server.bodies import read_object
from server.preferences import wait_of
from server.routes.run import answer_when_ended, may_read
from server.state import front, space

ROUTES = web.RouteTableDef()


@ROUTES.get("/prompt")
async def get_prompt(request: web.Request) -> web.Response:
    """Tell how many prompts wait or run."""
    return web.json_response({"exec_info": {"queue_remaining": front(request).store.remaining(space(request).owner)}})


@ROUTES.post("/prompt")
async def post_prompt(request: web.Request) -> web.StreamResponse:
    """Queue a prompt; one that repeats another, by its Idempotency-Key or prompt_id, gets that one's answer."""
    if "Prefer" in request.headers:
        wait_s = wait_of(request.headers.getall("Prefer"))
        if wait_s is not None and may_read(request):
            return await answer_when_ended(request, wait_s, bound=False)
    here, key, owner = front(request), request.headers.get("Idempotency-Key"), space(request).mark
    accepted = await here.submission.accept(await read_object(request), key, owner)
    here.calls.free(str(accepted["prompt_id"]), owner)
    return web.json_response(accepted)
