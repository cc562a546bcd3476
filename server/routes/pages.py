"""The root page, and lists of what packs bring for the front end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from aiohttp import web

from server.page import root_page
from server.state import front

ROUTES = web.RouteTableDef()

UNCACHED = {"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "0"}
EXAMPLE_FOLDERS = ("example_workflows", "example", "examples", "workflow", "workflows")
LOCALE_FILES = {
    "main.json": None,
    "nodeDefs.json": "nodeDefs",
    "commands.json": "commands",
    "settings.json": "settings",
}


@ROUTES.get("/")
async def get_root(request: web.Request) -> web.Response:
    """Show the page of this server."""
    return web.Response(body=root_page().encode(), headers={"Content-Type": "text/html", **UNCACHED})


@ROUTES.get("/extensions")
async def get_extensions(request: web.Request) -> web.Response:
    """List the scripts that packs add to the front end: none without packs."""
    return web.json_response([])


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
