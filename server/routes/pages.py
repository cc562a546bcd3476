"""The root page, the files of the web front end, and lists of what packs bring for it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from aiohttp import web

from server import staticfile
from server.page import root_page
from server.state import front

ROUTES = web.RouteTableDef()
FILES = web.RouteTableDef()
"""Files of the front end, without /api twins; the last row takes every path that no other route knows."""

UNCACHED = {"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "0"}
NO_TEMPLATES: dict[str, object] = {"index.json": [], "index_logo.json": {}}
"""What the front end asks for at its start, as it is with no templates."""
EXAMPLE_FOLDERS = ("example_workflows", "example", "examples", "workflow", "workflows")
LOCALE_FILES = {
    "main.json": None,
    "nodeDefs.json": "nodeDefs",
    "commands.json": "commands",
    "settings.json": "settings",
}


@ROUTES.get("/")
async def get_root(request: web.Request) -> web.Response:
    """Show the web front end, or without one the page of this server."""
    path = await asyncio.to_thread(front(request).web.page, "index.html")
    body = root_page().encode() if path is None else await asyncio.to_thread(path.read_bytes)
    return web.Response(body=body, headers={"Content-Type": "text/html", **UNCACHED})


@FILES.get("/templates/{name:.+}")
async def get_template(request: web.Request) -> web.StreamResponse:
    """Show a workflow template, its picture, or the list of them: an empty one if the package is not installed."""
    name, root = request.match_info["name"], front(request).web
    if not root.templates and name in NO_TEMPLATES:
        return web.json_response(NO_TEMPLATES[name])
    return await staticfile.send(request, root.template, name)


@FILES.get("/docs/{name:.+}")
async def get_document(request: web.Request) -> web.StreamResponse:
    """Show a page of help on a node, or a picture in it."""
    return await staticfile.send(request, front(request).web.document, request.match_info["name"])


@FILES.get("/{name:.+}")
async def get_file(request: web.Request) -> web.StreamResponse:
    """Show a file of the web front end."""
    name = request.match_info["name"]
    if name == "index.html":
        return await get_root(request)
    return await staticfile.send(request, front(request).web.page, name)


@ROUTES.get("/extensions")
async def get_extensions(request: web.Request) -> web.Response:
    """List the scripts that the front end imports at its start: those it brings along."""
    return web.json_response(await asyncio.to_thread(front(request).web.extensions))


@ROUTES.get("/workflow_templates")
async def get_workflow_templates(request: web.Request) -> web.Response:
    """List the example workflows of each pack."""
    return web.json_response(await asyncio.to_thread(_examples, front(request).folders.paths("custom_nodes")))


def _examples(folders: list[Path]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pack in _packs(folders):
        names = [path.stem for name in EXAMPLE_FOLDERS for path in sorted((pack / name).glob("*.json"))]
        if names:
            found[pack.name] = names
    return found


@ROUTES.get("/i18n")
async def get_i18n(request: web.Request) -> web.Response:
    """Show the translations that packs bring, by language."""
    return web.json_response(await asyncio.to_thread(_translations, front(request).folders.paths("custom_nodes")))


def _translations(folders: list[Path]) -> dict[str, dict[str, object]]:
    merged: dict[str, dict[str, object]] = {}
    for pack in _packs(folders):
        for language in sorted(path for path in (pack / "locales").glob("*") if path.is_dir()):
            for name, key in LOCALE_FILES.items():
                _merge(merged.setdefault(language.name, {}), _json_object(language / name), key)
    return {language: texts for language, texts in merged.items() if texts}


def _merge(into: dict[str, object], texts: dict[str, object], key: str | None) -> None:
    if not texts:
        return
    if key is None:
        into.update(texts)
        return
    section = into.setdefault(key, {})
    if isinstance(section, dict):
        section.update(texts)


def _packs(folders: list[Path]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.glob("*")) if path.is_dir()]


def _json_object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
