"""The front: HTTP and websocket edge of Weft. Imports neither torch nor a node."""

from __future__ import annotations

import sys


def __getattr__(name: str) -> object:
    """What packs mean by `server.<name>`: in workers that load packs, their facade of the server (nodes.bridge)."""
    bridge = sys.modules.get("nodes.bridge")
    if bridge is None or not hasattr(bridge, "server_name"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    answer: object = bridge.server_name(name)
    return answer
