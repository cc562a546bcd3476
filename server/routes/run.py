"""POST /weft/run: a prompt whose answer is what it made; and the same for POST /prompt with `Prefer: wait`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from executor.errors import BadInput, UnsafePath
from executor.fence import Fence
from executor.queue.job import HistoryEntry
from server import media, results, sentfile
from server.bodies import read_object, whole_number
from server.calls import Left, Outcome
from server.middleware import problem
from server.preferences import WAIT_S, form_of, kind_of, wait_of
from server.spaces import KEY
from server.state import front, space
from server.turns import turns

ROUTES = web.RouteTableDef()

LOOK_S = 0.5
"""How often a waiting request looks whether its client is still there."""
CLIENT_LEFT = 499
"""What proxies note where a client went before its answer."""
ANSWERS = ("json", "picture", "base64")


@ROUTES.post("/weft/run")
async def post_run(request: web.Request) -> web.StreamResponse:
    """Run a prompt and answer with what it made: its file, or all files' addresses or contents in JSON."""
    if not may_read(request):
        message = "an answer with what a prompt made needs a key with the scope 'read', too"
        return web.json_response(problem("scope_needed", message), status=403)
    _check(request)
    wait_s = wait_of(request.headers.getall("Prefer", ()))
    keep = request.query.get("keep", "").lower() in ("1", "true")
    return await answer_when_ended(request, wait_s, bound=not keep)


def may_read(request: web.Request) -> bool:
    """Tell whether who asks may see what prompts made."""
    key = request.get(KEY)
    return key is None or "read" in key.scopes


async def answer_when_ended(request: web.Request, wait_s: float | None, *, bound: bool) -> web.StreamResponse:
    """Queue the prompt of a request, wait for its end, and answer with it; 202 when the time is up first."""
    here = front(request)
    body = await read_object(request)
    try:
        outcome = await here.calls.call(
            body,
            request.headers.get("Idempotency-Key"),
            owner=space(request).mark,
            bound=bound,
            wait_s=WAIT_S if wait_s is None else wait_s,
            gone=lambda: until_gone(request),
        )
    except Left:
        return web.Response(status=CLIENT_LEFT)
    answer = await _answer(request, outcome)
    answer.headers["X-Weft-Prompt-Id"] = quote(outcome.prompt_id)
    if wait_s is not None:
        answer.headers["Preference-Applied"] = f"wait={wait_s:.0f}"
    return answer


async def until_gone(request: web.Request) -> None:
    """Wait until the client of a request has closed its connection."""
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(LOOK_S)


async def _answer(request: web.Request, outcome: Outcome) -> web.StreamResponse:
    if outcome.is_gone:
        return web.json_response(results.gone(outcome.prompt_id), status=results.STOPPED)
    if outcome.entry is None:
        return await _not_yet(request, outcome)
    failure = results.failure(outcome.entry)
    if failure is not None:
        status, told = failure
        return web.json_response(told, status=status)
    form = request.query.get("answer")
    kind = kind_of(request.headers.get("Accept", "")) if form is None else None
    if form == "picture" or kind is not None:
        return await _file(request, outcome.entry, kind)
    view = results.ended_view(outcome.entry, front(request).public_url)
    if form == "base64":
        view = await asyncio.to_thread(results.with_bytes, view, outcome.entry, space(request).folders)
    return web.json_response({**outcome.accepted, **view})


async def _not_yet(request: web.Request, outcome: Outcome) -> web.Response:
    """The job goes on: where its end will be told."""
    state = await front(request).job_states.of(outcome.prompt_id, space(request).owner) or {}
    headers = {"Location": f"{front(request).public_url}/weft/jobs/{quote(outcome.prompt_id, safe='')}"}
    return web.json_response({**outcome.accepted, "state": state.get("state")}, status=202, headers=headers)


async def _file(request: web.Request, entry: HistoryEntry, kind: str | None) -> web.StreamResponse:
    """One file as it is; how many there are stands in a header."""
    folders = space(request).folders
    files = results.files_of(entry)
    choice = results.Choice(node_id=request.query.get("node"), kind=kind, index=_index(request))
    chosen = choice.of(files)
    if chosen is None:
        return web.json_response(results.no_file(entry, front(request).public_url), status=406)
    form = form_of(request.headers.get("Accept", ""), chosen.content_type) if kind is not None else None
    name = chosen.filename if form is None else f"{Path(chosen.filename).stem}.{form}"
    headers = {**media.file_headers(name), "X-Weft-Files": str(len(files)), "Cache-Control": "no-store"}
    try:
        path = chosen.path(folders)
        if form is None:
            return await sentfile.send(folders.fence, path, headers)
        encoded = await turns(request).picture(_encoded, folders.fence, path, form)
        return web.Response(body=encoded.body, headers=headers)
    except (web.HTTPNotFound, UnsafePath):
        message = f"{chosen.filename}, which the prompt made, is not there any more"
        return web.json_response(problem("file_gone", message), status=410)


def _encoded(fence: Fence, path: Path, form: str) -> media.Encoded:
    """A picture file in another form; belongs in a thread."""
    with sentfile.opened(fence, path) as file:
        return media.preview(file, form)


def _check(request: web.Request) -> None:
    """Refuse a wish that cannot be met before anything runs."""
    form = request.query.get("answer")
    if form is not None and form not in ANSWERS:
        raise BadInput(f"answer must be one of {', '.join(ANSWERS)}, not {form!r}")
    _index(request)


def _index(request: web.Request) -> int:
    index = whole_number(request, "index") or 0
    if index < 0:
        raise BadInput(f"index counts from 0, not {index}")
    return index
