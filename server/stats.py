"""The body of GET /system_stats: figures of the machine, its devices, and versions. Knows no requests."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from executor.engine.base import Engine
from executor.messages import Device
from server.definitions import Definitions
from server.version import COMFYUI_VERSION, FRONTEND_VERSION, installed_version, weft_version

FRESH_S = 0.25
"""How long figures of memory stand before they are read again: clients poll them, and reading is dear."""


class SystemStats:
    """Renders the figures, at most once in FRESH_S while the devices are the same."""

    def __init__(
        self, engine: Engine, definitions: Definitions, argv: Sequence[str], short_argv: Sequence[str] = ()
    ) -> None:
        """`short_argv` is the command line without paths of this machine, for those whom these do not concern."""
        self._engine = engine
        self._definitions = definitions
        self._argv = {False: list(argv), True: list(short_argv)}
        self._devices: list[Device] = []
        self._bodies: dict[bool, bytes] = {}
        self._read_at_s = -FRESH_S

    def body(self, *, short: bool = False) -> bytes:
        """The JSON text of the answer; with `short` its `argv` names no folders of this machine."""
        now_s, devices = time.monotonic(), self._known_devices()
        if now_s - self._read_at_s >= FRESH_S or devices != self._devices:
            self._bodies.clear()
            self._read_at_s, self._devices = now_s, devices
        if short not in self._bodies:
            self._bodies[short] = self._rendered(devices, self._argv[short])
        return self._bodies[short]

    def _known_devices(self) -> list[Device]:
        """The devices of the workers, else those that the last worker told."""
        live = [device for worker in self._engine.workers() for device in worker.devices]
        return live or list(self._definitions.devices)

    def _rendered(self, devices: list[Device], argv: list[str]) -> bytes:
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
            "pytorch_version": self._definitions.torch_version or installed_version("torch") or "unknown",
            "embedded_python": Path(sys.executable).parent.name == "python_embeded",
            "argv": argv,
        }
        shown = [_shown(device) for device in devices or [_processor(memory.total, memory.available)]]
        return json.dumps({"system": system, "devices": shown}).encode()


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
