"""GET /system_stats, /features, /health, /ready."""

from __future__ import annotations

from aiohttp import web

from executor.settings import Settings
from server.state import front
from server.version import weft_version

ROUTES = web.RouteTableDef()


@ROUTES.get("/system_stats")
async def get_system_stats(request: web.Request) -> web.Response:
    """Show figures of the machine, its devices, and the versions that clients ask for."""
    return web.Response(body=front(request).stats.body(), content_type="application/json", charset="utf-8")


@ROUTES.get("/features")
async def get_features(request: web.Request) -> web.Response:
    """Tell what this server can do."""
    return web.json_response(features(front(request).settings))


def features(settings: Settings) -> dict[str, object]:
    """The feature flags of this server; the upload limit is in bytes."""
    return {"supports_preview_metadata": True, "max_upload_size": round(settings.max_upload_mb * 1024 * 1024)}


@ROUTES.get("/health")
async def get_health(request: web.Request) -> web.Response:
    """Tell that the front answers: 200 as long as it lives."""
    workers = front(request).engine.workers()
    states = [{"id": worker.id, "state": worker.state, "pid": worker.pid} for worker in workers]
    return web.json_response({"status": "ok", "version": weft_version(), "workers": states})


@ROUTES.get("/ready")
async def get_ready(request: web.Request) -> web.Response:
    """Tell whether prompts can run: 503 until a worker is up, and while workers keep crashing."""
    workers = front(request).engine.workers()
    up = any(worker.state in ("idle", "busy") for worker in workers)
    crashing = bool(workers) and all(worker.crashes >= 3 for worker in workers)
    if up and not crashing:
        return web.json_response({"ready": True})
    reason = "workers keep crashing" if crashing else "the worker is starting"
    return web.json_response({"ready": False, "reason": reason}, status=503, headers={"Retry-After": "2"})
