"""POST /weft/profile: a prompt whose answer is the trace of its run."""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from pathlib import Path

from aiohttp import web

from executor.queue.job import HistoryEntry
from server import results
from server.bodies import read_object
from server.calls import Left
from server.middleware import problem
from server.routes.run import CLIENT_LEFT, until_gone
from server.spaces import KEY
from server.state import front, space

ROUTES = web.RouteTableDef()

WAIT_S = 7 * 24 * 3600.0
"""How long is waited: a trace is for nobody else, so the prompt runs as long as its client stays."""


@ROUTES.post("/weft/profile")
async def post_profile(request: web.Request) -> web.StreamResponse:
    """Run a prompt under an id of the server's own and answer with what ran when, for Perfetto's UI."""
    key = request.get(KEY)
    if key is not None and "submit" not in key.scopes:
        message = "a trace of a prompt needs a key with the scope 'submit', too"
        return web.json_response(problem("scope_needed", message), status=403)
    here, own = front(request), space(request)
    body, prompt_id = await read_object(request), str(uuid.uuid4())
    operators = request.query.get("torch", "").lower() in ("1", "true")
    body["prompt_id"] = prompt_id
    temp = own.folders.root("temp")
    with await asyncio.to_thread(_place, temp) as folder:
        path = Path(folder) / "trace.json"
        with here.dispatcher.traces.wanted(prompt_id, path, operators=operators):
            try:
                outcome = await here.calls.call(
                    body, None, owner=own.mark, bound=True, wait_s=WAIT_S, gone=lambda: until_gone(request)
                )
            except Left:
                return web.Response(status=CLIENT_LEFT)
        if outcome.entry is None:
            return web.json_response(results.gone(prompt_id), status=results.STOPPED)
        trace = await asyncio.to_thread(_read, path)
    if trace is None:
        status, told = results.failure(outcome.entry) or (500, problem("no_trace", "the worker wrote no trace"))
        return web.json_response(told, status=status)
    headers = {"Cache-Control": "no-store", "X-Weft-Prompt-Id": prompt_id}
    return web.Response(body=with_end(trace, outcome.entry), content_type="application/json", headers=headers)


def with_end(trace: bytes, entry: HistoryEntry) -> bytes:
    """A trace with how its prompt ended as the member `weft`: viewers take what they do not know for notes."""
    failure = results.failure(entry)
    error = {} if failure is None else {"error": failure[1]["error"]}
    told = {"prompt_id": entry.job.id, "state": entry.result.state, **error}
    return trace.rstrip().removesuffix(b"}") + b', "weft": ' + json.dumps(told).encode() + b"}"


def _place(temp: Path) -> tempfile.TemporaryDirectory[str]:
    temp.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=temp, prefix="weft_trace_", ignore_cleanup_errors=True)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
