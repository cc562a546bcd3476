"""GET /system_stats, /features, /health, /ready."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
from aiohttp import web

from executor.messages import Device
from executor.settings import Settings
from server.state import Front, front
from server.version import COMFYUI_VERSION, FRONTEND_VERSION, installed_version, weft_version

ROUTES = web.RouteTableDef()


@ROUTES.get("/system_stats")
async def get_system_stats(request: web.Request) -> web.Response:
    """Show figures of the machine, its devices, and the versions that clients ask for."""
    here = front(request)
    memory = psutil.virtual_memory()
    system = {
        "os": os.name,
        "ram_total": memory.total,
        "ram_free": memory.available,
        "comfyui_version": COMFYUI_VERSION,
        "weft_version": weft_version(),
        "required_frontend_version": FRONTEND_VERSION,
        "installed_templates_version": installed_version("comfyui-workflow-templates"),
        "required_templates_version": None,
        "python_version": sys.version,
        "pytorch_version": here.definitions.torch_version or installed_version("torch") or "unknown",
        "embedded_python": Path(sys.executable).parent.name == "python_embeded",
        "argv": list(here.argv),
    }
    devices = [_shown(device) for device in _devices(here) or [_processor(memory.total, memory.available)]]
    return web.json_response({"system": system, "devices": devices})


def _devices(here: Front) -> list[Device]:
    """The devices of the workers, else those that the last worker told."""
    live = [device for worker in here.engine.workers() for device in worker.devices]
    return live or list(here.definitions.devices)


def _processor(total: int, free: int) -> Device:
    return Device(
        name="cpu",
        type="cpu",
        index=None,
        vram_total=total,
        vram_free=free,
        torch_vram_total=total,
        torch_vram_free=free,
    )


def _shown(device: Device) -> dict[str, object]:
    return {
        "name": device.name,
        "type": device.type,
        "index": device.index,
        "vram_total": device.vram_total,
        "vram_free": device.vram_free,
        "torch_vram_total": device.torch_vram_total,
        "torch_vram_free": device.torch_vram_free,
    }


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
