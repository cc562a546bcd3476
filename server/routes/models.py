"""GET /models, /embeddings, /experiment/models."""

from __future__ import annotations

import asyncio

from aiohttp import web

from executor.errors import BadInput, UnsafePath
from executor.files import Folders, inside
from server import modelfiles
from server.state import path_text, space
from server.turns import turns

ROUTES = web.RouteTableDef()

NO_MODELS = frozenset({"configs", "custom_nodes"})
"""Kinds of files that the model browser does not show."""


@ROUTES.get("/models")
async def get_models(request: web.Request) -> web.Response:
    """List the kinds of models."""
    return web.json_response(space(request).folders.kinds())


@ROUTES.get("/models/{folder}")
async def get_models_of(request: web.Request) -> web.Response:
    """List the files of a kind; old names of kinds are unknown here."""
    kind, folders = request.match_info["folder"], space(request).folders
    if kind not in folders.kinds():
        raise web.HTTPNotFound
    return web.json_response(await _names(folders, kind))


async def _names(folders: Folders, kind: str) -> list[str]:
    known = folders.fresh_names(kind)
    return await asyncio.to_thread(folders.names, kind) if known is None else known


@ROUTES.get("/embeddings")
async def get_embeddings(request: web.Request) -> web.Response:
    """List the embeddings, without their endings."""
    names = await _names(space(request).folders, "embeddings")
    return web.json_response([name.rpartition(".")[0] for name in names])


@ROUTES.get("/experiment/models")
async def get_model_folders(request: web.Request) -> web.Response:
    """List the kinds of models with their folders and file endings."""
    folders, shown = space(request).folders, path_text(request)
    return web.json_response(
        [
            {
                "name": kind,
                "folders": [shown(path) for path in folders.paths(kind)],
                "extensions": sorted(folders.suffixes(kind)),
            }
            for kind in folders.kinds()
            if kind not in NO_MODELS
        ]
    )


@ROUTES.get("/experiment/models/{folder}")
async def get_model_details(request: web.Request) -> web.Response:
    """List the files of a kind with sizes and times."""
    kind, folders = request.match_info["folder"], space(request).folders
    if kind not in folders.kinds():
        raise web.HTTPNotFound
    return web.json_response(await asyncio.to_thread(modelfiles.details, folders, kind))


@ROUTES.get("/experiment/models/preview/{folder}/{index}/{name:.*}")
async def get_model_preview(request: web.Request) -> web.Response:
    """Show the preview picture of a model file."""
    kind, folders = request.match_info["folder"], space(request).folders
    if kind not in folders.kinds():
        raise web.HTTPNotFound
    try:
        path = inside(folders.paths(kind)[_index(request)], request.match_info["name"])
    except UnsafePath as error:
        raise web.HTTPForbidden from error
    except IndexError as error:
        raise web.HTTPNotFound from error
    encoded = await turns(request).picture(modelfiles.cover, path)
    if encoded is None:
        raise web.HTTPNotFound
    return web.Response(body=encoded.body, content_type=encoded.content_type)


def _index(request: web.Request) -> int:
    text = request.match_info["index"]
    if not text.isdecimal() or len(text) > 9:
        raise BadInput(f"{text!r} is no index of a folder")
    return int(text)
