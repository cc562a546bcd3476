"""POST /weft/clean: removes now what the bounds say is too much, or tells what that would be."""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from executor.errors import BadInput
from executor.graph.prompt import require_object
from server.bodies import read_object
from server.retention import keeps_told
from server.state import front

ROUTES = web.RouteTableDef()

MOST_SHOWN = 100_000
MOST_NAME = 100
KNOWN = ("dry_run", "keep")


@ROUTES.post("/weft/clean")
async def post_clean(request: web.Request) -> web.Response:
    """Remove what is too much by the server's bounds, or by those in `keep`; with `dry_run` only tell what that is."""
    here = front(request)
    body = await read_object(request) if request.can_read_body else {}
    odd = next((name for name in body if name not in KNOWN), None)
    if odd is not None:  # it may be a misspelt dry_run, and what goes does not come back
        raise BadInput(f"{odd[:MOST_NAME]!r} is no field of this request; it has {' and '.join(KNOWN)}")
    dry = body.get("dry_run", False)
    if not isinstance(dry, bool):
        raise BadInput("dry_run must be true or false")
    keeps = keeps_told(require_object(body.get("keep") or {}, "keep"), here.settings)
    gone = await here.retention.clean(keeps, dry=dry)
    files, nbytes = Counter[str](), Counter[str]()
    for one in gone:
        files[one.folder] += 1
        nbytes[one.folder] += one.nbytes
    shown = [
        {
            **{"folder": one.folder, "name": one.name, "owner": one.owner},
            **{"bytes": one.nbytes, "age_s": round(one.age_s)},
        }
        for one in gone[:MOST_SHOWN]
    ]
    totals = {folder: {"count": count, "bytes": nbytes[folder]} for folder, count in files.items()}
    return web.json_response({"dry_run": dry, "totals": totals, "removed": shown})
