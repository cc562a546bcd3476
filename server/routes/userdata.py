"""/userdata, /v2/userdata: files that the front end keeps for a user."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from aiohttp import web

from executor.errors import BadInput, UnsafePath
from server import media, sentfile
from server.bodies import read_bytes
from server.state import space
from server.userfiles import file_info, listed_below, listed_in, store_file

ROUTES = web.RouteTableDef()

STYLE_SHEET = "user.css"
"""The one user file that the front end loads into its page."""


@ROUTES.get("/userdata")
async def get_userdata(request: web.Request) -> web.Response:
    """List the files in a folder of the user's."""
    users = space(request).users
    user = users.user_of(request.headers)
    directory = request.query.get("dir", "")
    if not directory:
        return web.Response(status=400, text="Directory not provided")
    try:
        folder = users.path(user, directory)
    except UnsafePath:
        return web.Response(status=403, text="Invalid directory")
    if not await asyncio.to_thread(folder.is_dir):
        return web.Response(status=404, text="Directory not found")
    recurse, split = _is_true(request, "recurse"), _is_true(request, "split")
    full = _is_true(request, "full_info")
    return web.json_response(
        await asyncio.to_thread(listed_in, folder, users.fence, recurse=recurse, full_info=full, split=split)
    )


@ROUTES.get("/v2/userdata")
async def get_userdata_v2(request: web.Request) -> web.Response:
    """List files and folders below a folder of the user's."""
    users = space(request).users
    try:
        user = users.user_of(request.headers)
    except BadInput:
        return web.Response(status=403, text="Invalid user specified")
    wanted = request.query.get("path", "")
    try:
        folder = users.path(user, wanted)
    except UnsafePath:
        return web.Response(status=400, text="Invalid path requested")
    root = users.root(user)
    if not await asyncio.to_thread(root.is_dir) and not wanted:
        return web.json_response([])
    if not await asyncio.to_thread(folder.exists):
        return web.Response(status=404, text="Requested path not found")
    if not await asyncio.to_thread(folder.is_dir):
        return web.Response(status=400, text="Requested path is not a directory")
    return web.json_response(await asyncio.to_thread(listed_below, folder, root, users.fence))


@ROUTES.get("/userdata/{file}")
async def get_file(request: web.Request) -> web.StreamResponse:
    """Show a user file."""
    path, users = _path(request, "file"), space(request).users
    headers = media.file_headers(path.name, request.headers.get("Sec-Fetch-Dest", ""))
    if path == users.path(users.user_of(request.headers), STYLE_SHEET):
        headers = {**headers, "Content-Type": "text/css", "Content-Disposition": "inline"}
    try:
        return await sentfile.send(users.fence, path, headers)
    except UnsafePath as error:
        raise web.HTTPForbidden from error


@ROUTES.post("/userdata/{file}")
async def post_file(request: web.Request) -> web.Response:
    """Store the body as a user file."""
    path = _path(request, "file", new=True)
    body = await read_bytes(request, request.client_max_size)
    overwrite = request.query.get("overwrite") != "false"
    if not await asyncio.to_thread(store_file, path, body, overwrite=overwrite):
        return web.Response(status=409, text="File already exists")
    return await _told(request, path)


@ROUTES.delete("/userdata/{file}")
async def delete_file(request: web.Request) -> web.Response:
    """Delete a user file."""
    path = _path(request, "file")
    if not await asyncio.to_thread(path.is_file):
        raise web.HTTPNotFound
    await asyncio.to_thread(path.unlink)
    return web.Response(status=204)


@ROUTES.post("/userdata/{file}/move/{dest}")
async def move_file(request: web.Request) -> web.Response:
    """Rename a user file."""
    source, target = _path(request, "file"), _path(request, "dest", new=True)
    if not await asyncio.to_thread(source.is_file):
        raise web.HTTPNotFound
    if request.query.get("overwrite") == "false" and await asyncio.to_thread(target.exists):
        return web.Response(status=409, text="File already exists")
    await asyncio.to_thread(_move, source, target)
    return await _told(request, target)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def _path(request: web.Request, part: str, *, new: bool = False) -> Path:
    """The path that a part of the address names, of a `new` file perhaps; %2F in it is a slash."""
    users = space(request).users
    find = users.place if new else users.path
    try:
        return find(users.user_of(request.headers), request.match_info[part])
    except UnsafePath as error:
        raise web.HTTPForbidden from error


async def _told(request: web.Request, path: Path) -> web.Response:
    users = space(request).users
    root = users.root(users.user_of(request.headers))
    if _is_true(request, "full_info"):
        return web.json_response(await asyncio.to_thread(file_info, path, root))
    return web.json_response(path.relative_to(root).as_posix())


def _is_true(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"
