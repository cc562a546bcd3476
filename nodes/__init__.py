"""The nodes that exist: `load` finds them for a worker. Only workers import what is below; the front never does."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodes.registry import Registry


def load(services: object = None) -> Registry:
    """Every node class there is, described and closed. `services` is what packs will be given (none are loaded yet)."""
    from nodes.builtin import MODULES
    from nodes.registry import Registry

    registry = Registry()
    for name in MODULES:
        for cls in import_module(f"nodes.builtin.{name}").NODES:
            registry.add(cls, builtin=True)
    registry.freeze()
    return registry
