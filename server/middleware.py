"""What happens to every request: OPTIONS, CORS, compression, errors as answers, figures, cache and type headers."""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from executor.errors import BadInput, Conflict, InvalidPrompt, NotReady, QueueFull
from executor.short_paths import ShortPaths
from server.metrics import Metrics
from server.refusals import one_line
from server.state import front, space
from server.users import UnknownUser

log = logging.getLogger("weft.front")

Prepare = Callable[[web.Request, web.StreamResponse], Awaitable[None]]
PICTURES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
COMPRESSED = frozenset({"application/json", "text/plain"})
DAY, HOUR = "public, max-age=86400", "public, max-age=3600"
UNUSABLE_NAMES = frozenset({errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP})
"""What the system says of a name that is too long, or that a file or folder stands in the way of."""
UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
"""What the system says when it cannot write: the disk is full, or may not be written."""
WEBSOCKET = 101
CHANGING_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})


# ---------------------------------------------------------------- errors


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into answers; this and the routes alone know HTTP codes."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except InvalidPrompt as error:
        log.warning("refused prompt: %s", one_line(str(error)))
        return web.json_response(error.body(), status=400)
    except UnknownUser as error:
        return web.json_response(problem("unknown_user", str(error)), status=401)
    except BadInput as error:
        return web.json_response(problem("invalid_request", str(error)), status=400)
    except Conflict as error:
        return web.json_response(problem("conflict", str(error)), status=409)
    except QueueFull as error:
        headers = {"Retry-After": str(error.retry_after_s)}
        return web.json_response(problem("queue_full", str(error)), status=429, headers=headers)
    except sqlite3.Error as error:
        log.exception("%s %s failed", request.method, request.path)
        return web.json_response(problem("storage", f"the queue cannot be written: {error}"), status=507)
    except NotReady as error:
        headers = {"Retry-After": str(error.retry_after_s)}
        return web.json_response(problem("not_ready", str(error)), status=503, headers=headers)
    except web.RequestPayloadError as error:
        reason = str(error).partition("message:")[2].strip() or "it breaks off"
        return web.json_response(problem("invalid_request", f"the body cannot be read: {reason}"), status=400)
    except UnicodeEncodeError:  # what a client sent would be told back to it
        return web.json_response(problem("invalid_request", "what was sent is not valid Unicode"), status=400)
    except ConnectionError:
        raise
    except OSError as error:
        if error.errno in UNWRITABLE and request.method in CHANGING_METHODS:
            log.error("%s %s failed: %s", request.method, request.path, error)
            return web.json_response(problem("storage", f"it cannot be stored: {error.strerror}"), status=507)
        if error.errno not in UNUSABLE_NAMES:
            log.exception("%s %s failed", request.method, request.path)
            return _failure(request, error)
        return web.json_response(problem("invalid_request", f"no such file name: {error.strerror}"), status=400)
    except Exception as error:  # the border of a route: the server goes on
        log.exception("%s %s failed", request.method, request.path)
        return _failure(request, error)


async def expected(request: web.Request) -> None:
    """Let a client that waits for it send its body; HTTPExpectationFailed for what else it expects."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer itself has not begun


def _failure(request: web.Request, error: Exception) -> web.Response:
    short = ShortPaths(front(request).settings, space(request).folders)
    return web.json_response(problem("internal_error", short.text(f"{type(error).__name__}: {error}")), status=500)


def problem(kind: str, message: str) -> dict[str, object]:
    """An error in the shape that clients know from POST /prompt."""
    return {"error": {"type": kind, "message": message, "details": "", "extra_info": {}}, "node_errors": {}}


# ---------------------------------------------------------------- figures


def measured(metrics: Metrics) -> Middleware:
    """The middleware that counts and times every answer; of websockets only that they were opened."""

    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        began_s, status = time.perf_counter(), 500
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as answer:
            status = answer.status
            raise
        finally:
            resource = request.match_info.route.resource
            seconds = time.perf_counter() - began_s if status != WEBSOCKET else None
            metrics.answered(request.method, resource.canonical if resource is not None else None, status, seconds)
        return response

    return measure


# ---------------------------------------------------------------- other sites


@web.middleware
async def answer_options(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer OPTIONS on any path: the check of a browser before it lets a page of another site in."""
    return web.Response() if request.method == "OPTIONS" else await handler(request)


def cors_headers(origin: str) -> Prepare:
    """What adds the headers that let pages of `origin` (`*`: any) read every answer, errors included."""
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "POST, GET, DELETE, PUT, PATCH, OPTIONS",
        "Access-Control-Allow-Headers": "Content-Type, Authorization",
        "Access-Control-Allow-Credentials": "true",
    }

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(headers)

    return add_headers


# ---------------------------------------------------------------- bodies and caches


@web.middleware
async def compress(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send JSON and plain text gzipped to who accepts it."""
    response = await handler(request)
    if (
        isinstance(response, web.Response)
        and response.content_type in COMPRESSED
        and "gzip" in request.headers.get("Accept-Encoding", "")
    ):
        response.enable_compression(web.ContentCoding.gzip)
    return response


async def add_type_header(request: web.Request, response: web.StreamResponse) -> None:
    """Let no browser guess another type than the one that is told.

    But for style sheets and scripts that are not there: browsers complain of the type of that answer, too.
    """
    if response.status != 404 or not request.path.endswith((".css", ".js")):
        response.headers.setdefault("X-Content-Type-Options", "nosniff")


async def add_cache_header(request: web.Request, response: web.StreamResponse) -> None:
    """Say how long an answer may be kept, by the ending of the path."""
    value = cache_control(request.path, response.status)
    if value is not None:
        response.headers.setdefault("Cache-Control", value)


def cache_control(path: str, status: int) -> str | None:
    """The Cache-Control of a path and status, None for no such header (reference/http_api.md section 1)."""
    if path.endswith((".js", ".css")):
        return "no-cache"
    if path.endswith(".json") and path.rpartition("/")[2].startswith("index"):
        return "no-cache"
    if not path.lower().endswith(PICTURES):
        return None
    if 200 <= status <= 206 or status in (301, 308):
        return DAY
    if status == 404:
        return HOUR
    return "no-cache" if status in (302, 303, 307) else None
