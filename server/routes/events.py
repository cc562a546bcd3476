"""GET /weft/events: the events of prompts as Server-Sent Events, which resume where a client left off."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from aiohttp import web

from executor.errors import BadInput
from server.eventlog import Event, Wanted
from server.middleware import problem
from server.replay import Replay, missed
from server.spaces import Space
from server.state import Front, front, space

ROUTES = web.RouteTableDef()

BEAT_S = 15.0
"""A comment is sent when nothing else was for so long, so that proxies keep the connection."""
RETRY_MS = 1000
UNKNOWN = "there is no prompt {!r}; post it first, then ask with last_event=0 to hear it from its beginning"
LONGEST_NUMBER = 18


@ROUTES.get("/weft/events")
async def get_events(request: web.Request) -> web.StreamResponse:
    """Stream events of all prompts, of one, or as one client hears them, from a number on."""
    here = front(request)
    given = request.headers.get("Last-Event-ID") or request.query.get("last_event")
    number = event_number(given) if given else here.hub.log.newest
    client_id, job_id = request.query.get("clientId"), request.query.get("prompt_id")
    wanted = Wanted(client_id=client_id, job_id=job_id, owner=space(request).owner)
    if job_id is not None and not await _is_known(here, job_id, wanted):
        return web.json_response(problem("unknown_prompt", UNKNOWN.format(job_id)), status=404)
    answer = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    answer.content_type = "text/event-stream"
    await answer.prepare(request)
    if request.method == "HEAD":
        return answer
    with suppress(ConnectionError):  # the client has gone
        await answer.write(f"retry: {RETRY_MS}\n\n".encode())
        while not here.hub.log.closed:
            number = await _tell(answer, await missed(here.hub.log, here.store.past, number, wanted))
            await here.hub.log.news(number, BEAT_S)
            if here.hub.log.newest == number:
                await answer.write(b": still here\n\n")
    return answer


async def _is_known(here: Front, job_id: str, wanted: Wanted) -> bool:
    """Tell whether a prompt waits, runs or ended, or at least left events that somebody may hear."""
    if await here.job_states.of(job_id, wanted.owner) is not None:
        return True
    anybody = replace(wanted, client_id=None)
    return any(event in anybody for event in here.hub.log.after(0))


async def _tell(answer: web.StreamResponse, replay: Replay) -> int:
    """Send what was missed; the number after which to go on."""
    for event in replay.all():
        await answer.write(sse(event))
    return replay.number


def sse(event: Event) -> bytes:
    """An event in the form of the HTML standard's section 9.2; one without a number does not move the client's."""
    name = f"id: {event.number}\n" if event.number else ""
    kind = event.name.replace("\n", " ").replace("\r", " ")  # a pack may choose any name
    return f"{name}event: {kind}\n".encode() + b"data: " + b" ".join(event.data_json.splitlines()) + b"\n\n"


def event_number(text: str) -> int:
    """The number of an event as clients send it; BadInput for what is none."""
    if not text.isascii() or not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise BadInput(f"an event's number is a whole number, not {text!r}")
    return int(text)


async def replay_for(here: Front, own: Space, text: str, sid: str) -> Replay:
    """What a websocket that names the last event it heard has missed; an empty text: nothing."""
    number = event_number(text) if text else here.hub.log.newest
    return await missed(here.hub.log, here.store.past, number, Wanted(client_id=sid, owner=own.owner))
