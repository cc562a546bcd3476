"""The OpenAPI document: all routes, no others, and answers as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from aiohttp import ClientResponse, web

from executor.engine.inprocess import InProcessEngine
from executor.settings import Settings
from server.app import make_app
from server.main import build
from server.openapi.document import OPERATIONS, document, served
from server.openapi.schemas import SCHEMAS
from server.webroot import WebRoot

KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": type(None),
}


def faults(value: object, schema: dict, where: str = "") -> Iterator[str]:
    """What a value has that its schema does not allow: the keywords that the document uses."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    for part in schema.get("allOf", []):
        yield from faults(value, part, where)
    if "anyOf" in schema and all(list(faults(value, part)) for part in schema["anyOf"]):
        yield f"{where}: none of the forms"
    kind = schema.get("type")
    if kind and (not isinstance(value, KINDS[kind]) or (kind in ("integer", "number") and isinstance(value, bool))):
        yield f"{where}: {value!r} is no {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r}"
    if isinstance(value, dict):
        yield from (f"{where}: no {name}" for name in schema.get("required", []) if name not in value)
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            yield from faults(item, inner, f"{where}/{name}")
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from faults(item, schema.get("items", {}), f"{where}/{number}")


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> web.Application:
    """All routes; no server, and nothing is asked of them."""
    settings = Settings(base_directory=tmp_path_factory.mktemp("routes"))
    return make_app(build(settings, InProcessEngine(settings), web_root=WebRoot()))


def test_every_route_is_described_and_nothing_else(app):
    assert {(route.method, route.path) for route in served(app)} == set(OPERATIONS)


def test_every_route_has_a_summary(app):
    assert not [route.path for route in served(app) if not route.summary]


def test_twins_are_told_by_their_servers(app):
    paths = document(app)["paths"]
    assert "servers" not in paths["/queue"]
    assert paths["/api/jobs"]["servers"] == [{"url": "/"}]
    assert "/api/queue" not in paths


def test_path_parameters_are_those_of_the_path(app):
    for path, item in document(app)["paths"].items():
        for method in item.keys() - {"servers"}:
            named = {row["name"] for row in item[method]["parameters"] if row["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


def test_operation_ids_are_unique(app):
    paths = document(app)["paths"]
    ids = [item[method]["operationId"] for item in paths.values() for method in item.keys() - {"servers"}]
    assert len(ids) == len(set(ids))


def test_references_lead_somewhere_and_every_schema_is_used(app):
    told = set(references(document(app)))
    assert told == {f"#/components/schemas/{name}" for name in SCHEMAS}


async def test_the_document_is_served(stand):
    answer = await stand.get("/openapi.json")
    assert (answer.status, (await answer.json())["openapi"]) == (200, "3.1.0")


async def test_the_page_names_every_path_and_loads_nothing(stand):
    answer = await stand.get("/docs/api")
    text = await answer.text()
    assert answer.content_type == "text/html"
    assert not [path for _, path in OPERATIONS if f"<code>{path}</code>" not in text]
    assert not re.search(r"(?:src|@import|<link|<script)", text)


# ---------------------------------------------------------------- answers as declared


@pytest.fixture
async def used(stand, upload, make_png):
    """A server with one job of each sort, an upload and a user file."""
    await stand.submit(prompt_id="done")
    await stand.engine.succeed({"2": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}})
    await stand.idle()
    await stand.submit(prompt_id="running")
    await stand.engine.job()
    await stand.submit(prompt_id="waiting")
    await upload(make_png(), "a.png")
    await stand.post("/userdata/notes%2Fa.txt", data=b"x")
    folder = stand.base / "custom_nodes" / "pack" / "subgraphs"
    folder.mkdir(parents=True)
    (folder / "blur.json").write_text("{}")
    return stand


async def misfits(answer: ClientResponse, method: str, path: str) -> list[str]:
    """What the document does not say of an answer: its status, its media type, its body."""
    told = OPERATIONS[method, path].answers
    if answer.status not in told:
        return [f"status {answer.status}"]
    content = told[answer.status]
    if content is None:
        return []
    media, schema = content
    if media not in (answer.content_type, "*/*"):
        return [f"media type {answer.content_type}"]
    return list(faults(json.loads(await answer.read()), schema)) if media == "application/json" else []


FILLED = {
    "/history/{prompt_id}": "/history/done",
    "/object_info/{name}": "/object_info/Source",
    "/view": "/view?filename=a.png&type=input",
    "/models/{folder}": "/models/vae",
    "/experiment/models/{folder}": "/experiment/models/vae",
    "/internal/files/{root}": "/internal/files/input",
    "/settings/{id}": "/settings/a",
    "/userdata": "/userdata?dir=notes&full_info=true",
    "/userdata/{file}": "/userdata/notes%2Fa.txt",
    "/api/jobs/{id}": "/api/jobs/done",
}
STREAMS = ("/ws", "/weft/events")
READ = sorted(
    path for method, path in OPERATIONS if method == "GET" and path not in STREAMS and "object_info" not in path
)
BROKEN = {
    "/view": "/view?filename=",
    "/history": "/history?max_items=x",
    "/api/jobs": "/api/jobs?limit=0",
    "/userdata": "/userdata",
    "/v2/userdata": "/v2/userdata?path=../..",
    "/models/{folder}": "/models/unknown",
    "/view_metadata/{folder}": "/view_metadata/vae?filename=x.safetensors",
    "/internal/files/{root}": "/internal/files/x",
    "/experiment/models/preview/{folder}/{index}/{name}": "/experiment/models/preview/vae/0/..%2F..%2Fx",
    "/api/jobs/{id}": "/api/jobs/unknown",
}


async def read(stand, addresses: Mapping[str, str]) -> tuple[dict[str, list[str]], dict[str, int]]:
    """What is wrong with the answers of routes that change nothing, which therefore share a server; their statuses."""
    wrong, statuses = {}, {}
    for path, address in addresses.items():
        async with stand.get(address) as answer:
            statuses[path] = answer.status
            if found := await misfits(answer, "GET", path):
                wrong[path] = found
    return wrong, statuses


async def test_reading_answers_as_declared(used):
    wrong, _ = await read(used, {path: FILLED.get(path, path.replace("{", "").replace("}", "")) for path in READ})
    assert wrong == {}


def test_recorded_classes_are_as_declared():
    """The test's own nodes are told by less than real ones."""
    recorded = json.loads((Path(__file__).parents[3] / "data" / "object_info.json").read_text(encoding="utf-8"))
    assert not list(faults(recorded, OPERATIONS["GET", "/object_info"].answers[200][1]))


async def test_what_cannot_be_read_is_answered_as_declared(used):
    wrong, statuses = await read(used, BROKEN)
    assert wrong == {}
    assert {path: status for path, status in statuses.items() if not 400 <= status < 500} == {}


BODIES = (b"{", b"[]", b'{"delete": 5}', b'"x"', b"\xff", b'{"prompt": {}}', b"{}", b"")
"""Those that change something last: one server takes all."""
WRITTEN = sorted((method, path) for method, path in OPERATIONS if method != "GET")


@pytest.mark.parametrize(("method", "path"), WRITTEN)
async def test_any_body_is_answered_as_declared(used, method, path):
    address = path.replace("{file}", "b").replace("{dest}", "c").replace("{id}", "d")
    wrong = {}
    for body in BODIES:
        async with used.client.request(method, address, data=body) as answer:
            if found := await misfits(answer, method, path):
                wrong[body] = found
    assert wrong == {}
