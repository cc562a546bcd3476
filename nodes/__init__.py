"""The nodes that exist: `load` finds them for a worker. Only workers import what is below; the front never does."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from executor.worker.services import Services
    from nodes.registry import Registry


def prestart(services: Services) -> None:
    """Find packs and run their prestartup scripts; called before torch is imported. `services.packs` is set."""
    from nodes.packs.discover import discover

    found = discover(services.folders, services.settings)
    if found and services.line is not None:
        from nodes.packs.loaded import Packs

        packs = Packs(found, services, services.line)
        services.complete(packs=packs)
        packs.prestart()


def load(services: Services | None = None) -> Registry:
    """Every node class there is, described and closed: the built-in ones, and those of the packs that were found."""
    from executor import context
    from executor.context import RunContext
    from nodes.builtin import MODULES
    from nodes.registry import Registry

    registry = Registry()
    with context.entered(RunContext(services=services)):  # some lists are of what lies in folders
        for name in MODULES:
            for cls in import_module(f"nodes.builtin.{name}").NODES:
                registry.add(cls, name=getattr(cls, "NAME", None), builtin=True)
    packs = getattr(services, "packs", None)
    if packs is not None:
        packs.load(registry)
    registry.freeze()
    return registry


def __getattr__(name: str) -> object:
    """What packs mean by `nodes.<name>`: node classes and a few functions (nodes.bridge), in workers with packs."""
    bridge = sys.modules.get("nodes.bridge")
    if bridge is None or not hasattr(bridge, "node_name"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    answer: object = bridge.node_name(name)
    return answer
