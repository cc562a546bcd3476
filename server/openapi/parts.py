"""What descriptions of routes are made of: schemas, bodies, answers. Knows no route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Schema = dict[str, object]
Content = tuple[str, Schema]
"""A media type and the schema of its body."""

TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
ANY: Schema = {}
OBJECT: Schema = {"type": "object"}
FILE: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
NULL: Schema = {"type": "null"}
TEXTS: Schema = {"type": "array", "items": TEXT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A parameter of the query, or a header."""

    name: str
    about: str
    schema: Schema = field(default_factory=lambda: TEXT)
    required: bool = False
    place: Literal["query", "header"] = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route takes and answers; a status without content has an empty body, or a plain text of no form.

    `also` are further forms of the body of 200.
    """

    topic: str
    answers: Mapping[int, Content | None]
    also: tuple[Content, ...] = ()
    query: tuple[Query, ...] = ()
    body: Content | None = None
    body_required: bool = True


def ref(name: str) -> Schema:
    """A schema of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def mapping(values: Schema) -> Schema:
    """An object with any keys."""
    return {"type": "object", "additionalProperties": values}


def either(*schemas: Schema) -> Schema:
    """One of several forms."""
    return {"anyOf": list(schemas)}


def one_of(*values: str) -> Schema:
    """One of some texts."""
    return {"type": "string", "enum": list(values)}


def members(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object with these keys; there may be others."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required)}


def json(schema: Schema) -> Content:
    """A JSON body."""
    return "application/json", schema


def form(required: Mapping[str, Schema], optional: Mapping[str, Schema]) -> Content:
    """A multipart form."""
    return "multipart/form-data", members(required, optional)


PROBLEM = json(ref("Problem"))
PLAIN: Content = ("text/plain", TEXT)
BYTES: Content = ("*/*", ANY)
"""A file as it is: its type decides what it is, so there is no schema."""
REFUSED: Mapping[int, Content | None] = {400: PROBLEM, 413: PLAIN, 507: PROBLEM}
"""What a route that reads a body and changes something may answer besides."""
