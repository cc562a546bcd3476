"""GET /view and /view_metadata, POST /upload/image and /upload/mask."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web
from aiohttp.web_request import FileField

from executor.errors import BadInput, UnsafePath
from executor.fence import Fence
from executor.files import inside, split_root
from server import media, sentfile
from server.bodies import Fields, read_form
from server.modelfiles import metadata_of
from server.state import space
from server.turns import turns
from server.uploads import Upload, as_root, read_reference

ROUTES = web.RouteTableDef()


# ---------------------------------------------------------------- reading


@ROUTES.get("/view")
async def get_view(request: web.Request) -> web.StreamResponse:
    """Show a file of the output, input or temp folder, whole, re-encoded, or one channel of it."""
    path, fence, wish = _viewed(request), space(request).folders.fence, request.query
    headers = media.file_headers(path.name, request.headers.get("Sec-Fetch-Dest", ""))
    if media.is_active(media.content_type(path.name)):
        headers["Cache-Control"] = "no-store"
    try:
        if "preview" in wish or wish.get("channel") in ("rgb", "a"):
            encoded = await turns(request).picture(_encoded, fence, path, wish.get("preview"), wish.get("channel", ""))
            return web.Response(body=encoded.body, headers={**headers, "Content-Type": encoded.content_type})
        return await sentfile.send(fence, path, headers)
    except UnsafePath as error:
        raise web.HTTPForbidden from error


def _encoded(fence: Fence, path: Path, preview: str | None, channel: str) -> media.Encoded:
    """A picture file re-encoded, or one channel of it; belongs in a thread."""
    with sentfile.opened(fence, path) as file:
        return media.shown(file, preview, channel)


def _viewed(request: web.Request) -> Path:
    """The path a /view request names; checked in the order that reference/http_api.md section 4 gives."""
    given = request.query.get("filename")
    if given is None:
        raise web.HTTPNotFound
    name, suffix = split_root(given)
    if not name or name.startswith("/") or ".." in name:
        raise BadInput(f"{given!r} is no file name that can be shown")
    folders = space(request).folders
    root = folders.root(suffix or as_root(request.query.get("type", "output")))
    try:
        folder = inside(root, folders.named(request.query.get("subfolder", "")))
    except UnsafePath as error:
        raise web.HTTPForbidden from error
    return inside(folder, name.rpartition("/")[2] or name)


@ROUTES.get("/view_metadata/{folder}")
async def get_view_metadata(request: web.Request) -> web.Response:
    """Show what a safetensors file says about itself; 404 for everything that says nothing."""
    kind, name = request.match_info["folder"], request.query.get("filename", "")
    folders = space(request).folders
    if kind not in folders.kinds() or not name.endswith(".safetensors"):
        raise web.HTTPNotFound
    path = await asyncio.to_thread(folders.find, kind, name)
    found = await asyncio.to_thread(metadata_of, path) if path is not None else None
    if found is None:
        raise web.HTTPNotFound
    return web.json_response(found)


# ---------------------------------------------------------------- writing


@ROUTES.post("/upload/image")
async def post_upload_image(request: web.Request) -> web.Response:
    """Store an uploaded file of any kind."""
    upload = await _upload(await read_form(request))
    name = await asyncio.to_thread(space(request).uploads.store, upload)
    return web.json_response({"name": name, "subfolder": upload.subfolder, "type": upload.root})


@ROUTES.post("/upload/mask")
async def post_upload_mask(request: web.Request) -> web.Response:
    """Store a picture that is there with the alpha of an uploaded one."""
    fields = await read_form(request)
    upload = await _upload(fields)
    reference = await _text(fields, "original_ref")
    if not reference:
        raise BadInput("a mask upload needs the field original_ref")
    name = await turns(request).picture(space(request).uploads.store_mask, upload, read_reference(reference))
    return web.json_response({"name": name, "subfolder": upload.subfolder, "type": upload.root})


async def _upload(fields: Fields) -> Upload:
    sent = fields.get("image")
    if not isinstance(sent, FileField):
        raise BadInput("the field image must be an uploaded file")
    return Upload(
        name=sent.filename,
        body=await asyncio.to_thread(sent.file.read),
        root=as_root(await _text(fields, "type") or "input"),
        subfolder=await _text(fields, "subfolder"),
        overwrite=await _text(fields, "overwrite") in ("true", "1"),
    )


async def _text(fields: Fields, name: str) -> str:
    """A field's text; some clients send texts as file parts."""
    value = fields.get(name, "")
    if isinstance(value, FileField):
        value = await asyncio.to_thread(value.file.read)
    return value if isinstance(value, str) else value.decode(errors="replace")
