"""Serves the packs' own routes to the front, on their event loop: a private socket, nothing public. Knows no pack."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from executor.worker.line import Line

log = logging.getLogger("weft.packs")

START_S = 30.0
END_S = 1.0  # for answers under way when the worker ends
NO_ROUTE = "Weft-No-Route"  # on answers that no route of a pack gave: the front then gives its own
TOKEN = "Weft-Token"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve_routes(app: web.Application, line: Line) -> str:
    """Serve an application on the line's event loop; returns where ("unix:PATH" or "tcp:HOST:PORT/TOKEN").

    Raises what the application's own start raises.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=END_S)
    address = asyncio.run_coroutine_threadsafe(_serve(runner, line), line.loop).result(START_S)
    line.on_close.append(lambda: _end(runner, line))
    return address


def _end(runner: web.AppRunner, line: Line) -> None:
    """Stop serving and let the packs' own clean-up run, if the loop still does and nothing blocks it."""
    if line.loop.is_running():
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(runner.cleanup(), line.loop).result(END_S * 2)


async def _serve(runner: web.AppRunner, line: Line) -> str:
    has_sockets = hasattr(socket, "AF_UNIX")
    runner.app.middlewares.insert(0, _answer_for("" if has_sockets else line.token))
    await runner.setup()
    if has_sockets:
        folder = line.run_folder or _own_folder(line)
        path = folder / f"packs-{line.worker}-{os.getpid()}.sock"
        await web.UnixSite(runner, path).start()
        return f"unix:{path}"
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    return f"tcp:{host}:{port}/{line.token}"


def _own_folder(line: Line) -> Path:
    folder = tempfile.TemporaryDirectory(prefix="weft-packs-")
    line.on_close.append(folder.cleanup)
    return Path(folder.name)


def _answer_for(token: str) -> Middleware:
    """The outermost middleware: only the front is served, and an error of a route is an answer, not the end."""

    @web.middleware
    async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token and not hmac.compare_digest(request.headers.get(TOKEN, ""), token):
            return web.Response(status=403)
        unknown = request.match_info.http_exception
        if unknown is not None:
            return web.Response(status=unknown.status, headers={NO_ROUTE: "1"})
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as failure:  # the route's border: the code of a pack may raise anything
            log.exception("a pack's route failed: %s %s", request.method, request.path)
            return web.Response(
                status=500,
                content_type="application/json",
                body=json.dumps(_error(request, failure)).encode(),
            )

    return answered


def _error(request: web.Request, failure: Exception) -> dict[str, object]:
    error = {
        "type": "pack_route_failed",
        "message": f"{type(failure).__name__}: {failure}",
        "details": f"{request.method} {request.path} is a custom node's route; its traceback is in the log",
        "extra_info": {},
    }
    return {"error": error, "node_errors": {}}
