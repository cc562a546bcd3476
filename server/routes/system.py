"""GET /system_stats, /features, /metrics, /health, /ready."""

from __future__ import annotations

from aiohttp import web

from executor.settings import Settings
from server.readiness import OK
from server.state import front, space
from server.version import weft_version

ROUTES = web.RouteTableDef()


@ROUTES.get("/system_stats")
async def get_system_stats(request: web.Request) -> web.Response:
    """Show figures of the machine, its devices, and the versions that clients ask for."""
    body = front(request).stats.body(short=not space(request).is_whole)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


@ROUTES.get("/features")
async def get_features(request: web.Request) -> web.Response:
    """Tell what this server can do."""
    return web.json_response(features(front(request).settings))


def features(settings: Settings) -> dict[str, object]:
    """The feature flags of this server; the upload limit is in bytes."""
    return {"supports_preview_metadata": True, "max_upload_size": round(settings.max_upload_mb * 1024 * 1024)}


@ROUTES.get("/metrics")
async def get_metrics(request: web.Request) -> web.Response:
    """Show all figures in Prometheus's text form."""
    body = front(request).metrics.text()
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


@ROUTES.get("/health")
async def get_health(request: web.Request) -> web.Response:
    """Tell that the front answers: 200 as long as it lives."""
    workers = front(request).engine.workers()
    states = [{"id": worker.id, "state": worker.state, "pid": worker.pid} for worker in workers]
    return web.json_response({"status": "ok", "version": weft_version(), "workers": states})


@ROUTES.get("/ready")
async def get_ready(request: web.Request) -> web.Response:
    """Tell whether prompts can be taken, run and stored: 503 names what stands in the way."""
    checks = await front(request).readiness.checks()
    reasons = [state for state in checks.values() if state != OK]
    if not reasons:
        return web.json_response({"ready": True, "checks": checks})
    body = {"ready": False, "reason": "; ".join(reasons), "checks": checks}
    return web.json_response(body, status=503, headers={"Retry-After": "2"})
