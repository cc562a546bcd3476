"""Makes the OpenAPI 3.1 document of an application from its routes and their descriptions. Knows no handler."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiohttp import web

from server.openapi import files, information, prompts
from server.openapi.parts import Content, Operation, Query
from server.openapi.schemas import SCHEMAS
from server.version import weft_version

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    **prompts.OPERATIONS,
    **files.OPERATIONS,
    **information.OPERATIONS,
}
ABOUT = (
    "The interface of ComfyUI 0.3.64, served by Weft. Every path that is offered on the server /api exists twice, "
    "with and without /api. Events of prompts come over the websocket /ws."
)
_PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")
_REASONS = {
    101: "the websocket",
    200: "success",
    202: "accepted: the prompt goes on, Location says where its end will be told",
    204: "done",
    206: "the part asked for",
    304: "not changed",
    400: "the request cannot be understood or is not valid",
    401: "no such user",
    403: "outside the folder, or a page of another site",
    404: "not there",
    406: "the prompt made no file of the kind that was asked for",
    409: "the name is taken, the key was used for something else, or the prompt was stopped",
    410: "the file is not there any more",
    413: "the body is larger than --max-upload-size",
    416: "no such part",
    422: "a node failed",
    429: "too many prompts wait (--max-queue)",
    500: "the worker that ran it ended",
    503: "not ready, or switched off",
    504: "the prompt ran longer than --job-timeout",
    507: "it cannot be stored: the disk is full, or may not be written",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A route of the application; `twin` tells that it is there with /api too."""

    method: str
    path: str
    summary: str
    twin: bool


def served(app: web.Application) -> Iterator[Served]:
    """The routes of an application, twins counted once, HEAD counted with GET."""
    found = {
        (route.method, _PARAMETER.sub(r"{\1}", route.resource.canonical)): route
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    for (method, path), route in found.items():
        if path.startswith("/api/") and (method, path.removeprefix("/api")) in found:
            continue
        summary = (inspect.getdoc(route.handler) or "").partition("\n")[0]
        yield Served(method=method, path=path, summary=summary, twin=(method, f"/api{path}") in found)


def document(app: web.Application) -> dict[str, object]:
    """The document of everything an application serves; KeyError for a route that nothing describes."""
    paths: dict[str, dict[str, object]] = {}
    for route in sorted(served(app), key=lambda route: route.path):
        item = paths.setdefault(route.path, {} if route.twin else {"servers": [{"url": "/"}]})
        item[route.method.lower()] = _operation(route, OPERATIONS[route.method, route.path])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Weft",
            "version": weft_version(),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}, {"url": "/api"}],
        "paths": paths,
        "components": {"schemas": dict(SCHEMAS)},
    }


def _operation(route: Served, told: Operation) -> dict[str, object]:
    words = re.findall(r"\w+", route.path)
    made: dict[str, object] = {
        "operationId": "_".join([route.method.lower(), *words]),
        "tags": [told.topic],
        "summary": route.summary,
        "parameters": [*map(_path_parameter, _PARAMETER.findall(route.path)), *map(_query_parameter, told.query)],
        "responses": {
            str(status): _response(status, told.answers[status], told.also if status == 200 else ())
            for status in sorted(told.answers)
        },
    }
    if told.body is not None:
        made["requestBody"] = {"required": told.body_required, "content": _content(told.body)}
    return made


def _path_parameter(name: str) -> dict[str, object]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameter(query: Query) -> dict[str, object]:
    return {
        "name": query.name,
        "in": query.place,
        "required": query.required,
        "description": query.about,
        "schema": query.schema,
    }


def _response(status: int, content: Content | None, also: tuple[Content, ...] = ()) -> dict[str, object]:
    made: dict[str, object] = {"description": _REASONS[status]}
    return made if content is None else {**made, "content": _content(content, *also)}


def _content(*contents: Content) -> dict[str, object]:
    return {media_type: {"schema": schema} for media_type, schema in contents}
