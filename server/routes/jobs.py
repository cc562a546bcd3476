"""/api/jobs: what waits, runs and ended in one list (written with /api, without a twin); /weft/jobs: how one stands."""

from __future__ import annotations

import asyncio
import re
from typing import get_args

from aiohttp import web

from server.bodies import read_object
from server.jobs import STATUSES, JobQuery, Status, find_job
from server.largejson import dumped
from server.spaces import Space
from server.state import Front, front, space

ROUTES = web.RouteTableDef()
WEFT = web.RouteTableDef()
"""Weft's own routes of jobs, which have twins."""

STATE_KEYS = ("state", "queue_position", "percent", "current_node", "step", "steps", "seconds_left")
SORT_KEYS = ("created_at", "execution_duration")
MOST_IDS = 10_000
"""Jobs that one request may cancel."""
AT_ONCE = 100
"""Jobs that are cancelled before others have their turn."""
SORT_ORDERS = ("desc", "asc")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class BadQuery(ValueError):
    """A query value that cannot be understood; these routes tell it in a form of their own."""


@ROUTES.get("/api/jobs")
async def get_jobs(request: web.Request) -> web.Response:
    """List jobs, filtered and sorted, a page at a time."""
    try:
        query = _query(request)
    except BadQuery as error:
        return web.json_response({"error": str(error)}, status=400)
    body = await front(request).jobs.page(query)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _query(request: web.Request) -> JobQuery:
    limit = _number(request, "limit", least=1)
    return JobQuery(
        statuses=_statuses(request.query.get("status", "")),
        workflow_id=request.query.get("workflow_id") or None,
        by_duration=_choice(request, "sort_by", SORT_KEYS) == "execution_duration",
        descending=_choice(request, "sort_order", SORT_ORDERS) == "desc",
        limit=limit,
        offset=_number(request, "offset", least=0) or 0,
        owner=space(request).owner,
    )


def _statuses(text: str) -> frozenset[Status]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in get_args(Status)]
    if unknown:
        raise BadQuery(f"unknown status {unknown[0]!r}; there are {', '.join(STATUSES)}")
    return frozenset(status for status in STATUSES if status in names or not names)


def _choice(request: web.Request, name: str, known: tuple[str, ...]) -> str:
    text = request.query.get(name) or known[0]
    if text not in known:
        raise BadQuery(f"{name} must be one of {', '.join(known)}, not {text!r}")
    return text


def _number(request: web.Request, name: str, *, least: int) -> int | None:
    text = request.query.get(name)
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 15 or int(text) < least:
        raise BadQuery(f"{name} must be a whole number from {least} on, not {text!r}")
    return int(text)


@ROUTES.get("/api/jobs/{id}")
async def get_job(request: web.Request) -> web.Response:
    """Show one job with its workflow and outputs."""
    here, job_id, owner = front(request), request.match_info["id"], space(request).owner
    found = await find_job(here.store, job_id, owner)
    if found is None:
        return web.json_response({"error": "Job not found"}, status=404)
    state = await here.job_states.of(job_id, owner) or {}
    told = {name: state[name] for name in STATE_KEYS if state.get(name) is not None}
    body = await asyncio.to_thread(dumped, {**found, **told})  # with the whole workflow
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@WEFT.get("/weft/jobs/{id}")
async def get_job_state(request: web.Request) -> web.Response:
    """Tell how a job stands: state, place in the queue, percent, node, step, seconds left, and how it ended."""
    found = await front(request).job_states.of(request.match_info["id"], space(request).owner)
    if found is None:
        return web.json_response({"error": "Job not found"}, status=404)
    return web.json_response(found)


@ROUTES.post("/api/jobs/{id}/cancel")
async def post_job_cancel(request: web.Request) -> web.Response:
    """Stop a running job or remove a waiting one; tells whether there was one. With `force` its worker ends."""
    body = await read_object(request) if request.body_exists else {}
    force = body.get("force") is True
    cancelled = await _cancel(front(request), space(request), request.match_info["id"], force=force)
    return web.json_response({"cancelled": cancelled})


@ROUTES.post("/api/jobs/cancel")
async def post_jobs_cancel(request: web.Request) -> web.Response:
    """Stop or remove several jobs; tells whether there was any."""
    here, own, body = front(request), space(request), await read_object(request)
    ids = body.get("job_ids")
    if not isinstance(ids, list):
        return web.json_response({"error": "job_ids must be a list of ids", "invalid_ids": []}, status=400)
    if len(ids) > MOST_IDS:
        return web.json_response({"error": f"at most {MOST_IDS} ids at once", "invalid_ids": []}, status=400)
    invalid = [wanted for wanted in ids if not await _may_be_an_id(here, own, wanted)]
    if invalid:
        return web.json_response({"error": "job_ids holds what is no id", "invalid_ids": invalid}, status=400)
    any_was = False
    for number, wanted in enumerate(ids):
        any_was = await _cancel(here, own, str(wanted)) or any_was
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    return web.json_response({"cancelled": any_was})


async def _may_be_an_id(here: Front, own: Space, wanted: object) -> bool:
    """Clients may choose any text for an id, so one that is no UUID is good if there is such a job."""
    if not isinstance(wanted, str):
        return False
    return _UUID.fullmatch(wanted) is not None or await find_job(here.store, wanted, own.owner) is not None


async def _cancel(here: Front, own: Space, job_id: str, *, force: bool = False) -> bool:
    removed = await here.dispatcher.delete([job_id], own.owner)
    return here.dispatcher.interrupt(job_id, force=force, owner=own.owner) or bool(removed)
