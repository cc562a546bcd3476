"""Reads request bodies and query values, and refuses what is none. Knows no routes."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import FileField

from executor.errors import BadInput
from executor.graph.prompt import require_object

Fields = Mapping[str, str | bytes | bytearray | FileField]


async def read_json(request: web.Request) -> object:
    """The body as JSON, whatever its content type says; BadInput if it is none."""
    body = await request.read()
    try:
        value: object = json.loads(body)
    except RecursionError as error:
        raise BadInput("the body is nested too deeply") from error
    except ValueError as error:
        raise BadInput(f"the body is not valid JSON: {error}") from error
    return value


async def read_object(request: web.Request) -> dict[str, object]:
    """The body as a JSON object; BadInput if it is none."""
    return require_object(await read_json(request), "the body")


async def read_form(request: web.Request) -> Fields:
    """The fields of a form, files among them; BadInput for a form that cannot be read, no fields without a form."""
    try:
        return dict(await request.post())
    except (ValueError, LookupError, EOFError, HttpProcessingError) as error:
        raise BadInput(f"the form cannot be read: {error}") from error


def whole_number(request: web.Request, name: str) -> int | None:
    """A query value as an integer, None when it is not given; BadInput if it is no integer."""
    text = request.query.get(name)
    if text is None or text == "":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise BadInput(f"{name} must be a whole number, not {text!r}") from error


def texts(value: object, what: str) -> list[str]:
    """A JSON list of texts (other scalars are written out); BadInput if `value` is none."""
    if not isinstance(value, list) or any(isinstance(item, dict | list) for item in value):
        raise BadInput(f"{what} must be a list of texts")
    return [item if isinstance(item, str) else str(item) for item in value]
