"""Imports one pack and finds the nodes it brings. Keeps no list of packs and tells nobody."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import logging
import sys
import tomllib
from asyncio import AbstractEventLoop
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

from nodes.packs.discover import Pack

log = logging.getLogger("weft.packs")


def import_pack(pack: Pack) -> ModuleType:
    """The pack's module, in sys.modules under its key; raises whatever its code raises."""
    spec = importlib.util.spec_from_file_location(pack.key, pack.source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{pack.source} cannot be read as Python")
    for name in [name for name in sys.modules if name.startswith(f"{pack.key}.")]:
        del sys.modules[name]  # of a worker that was in this process before
    module = importlib.util.module_from_spec(spec)
    sys.modules[pack.key] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(pack.key, None)
        raise
    return module


def classes_of(module: ModuleType) -> dict[str, object]:
    """What a pack's module offers as nodes, by name: its mapping, or else what its entry point lists.

    Raises what the entry point raises; the values may be anything a pack wrote.
    """
    mapping = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if isinstance(mapping, Mapping):
        return dict(mapping)
    entry = getattr(module, "comfy_entrypoint", None)
    return asyncio.run(_listed(entry)) if callable(entry) else {}


async def _listed(entry: object) -> dict[str, object]:
    extension = entry()  # type: ignore[operator]  # classes_of has seen that it can be called
    if inspect.isawaitable(extension):
        extension = await extension
    listed = await extension.get_node_list()
    return {str(cls.GET_SCHEMA().node_id): cls for cls in listed}


def offers_nodes(module: ModuleType) -> bool:
    """Tell whether a module declares nodes at all, be it none."""
    has_mapping = isinstance(getattr(module, "NODE_CLASS_MAPPINGS", None), Mapping)
    return has_mapping or callable(getattr(module, "comfy_entrypoint", None))


def display_names_of(module: ModuleType) -> dict[str, str]:
    """What a pack calls its nodes."""
    names = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None)
    return dict(cast(Mapping[str, str], names)) if isinstance(names, Mapping) else {}


def web_folders_of(pack: Pack, module: ModuleType) -> dict[str, str]:
    """The folders that a pack wants shown in browsers: name below /extensions/ -> absolute folder."""
    found: dict[str, str] = {}
    project, folder = _project_web(pack.path / "pyproject.toml")
    if folder and (pack.path / folder).is_dir():
        found[project or pack.name] = str((pack.path / folder).resolve())
    told = getattr(module, "WEB_DIRECTORY", None)
    if isinstance(told, str) and pack.path.is_dir() and (pack.path / told).is_dir():
        found[pack.name] = str((pack.path / told).resolve())
    return found


def _project_web(file: Path) -> tuple[str, str]:
    """The project's name and its [tool.comfy] web folder, as far as a pyproject.toml tells them."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return "", ""
    project, tool = data.get("project", {}), data.get("tool", {})
    comfy = tool.get("comfy", {}) if isinstance(tool, Mapping) else {}
    name = project.get("name", "") if isinstance(project, Mapping) else ""
    web = comfy.get("web", "") if isinstance(comfy, Mapping) else ""
    return str(name or ""), str(web or "")


@contextmanager
def as_on_loop(loop: AbstractEventLoop) -> Iterator[None]:
    """Let code find `loop` as the running one, as packs are imported inside the server's loop elsewhere.

    What it schedules there is run by the loop's own thread, which is woken at the end.
    """
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)
        loop.call_soon_threadsafe(_wake)


def _wake() -> None:
    """Nothing: being called wakes the loop."""


@contextmanager
def kept_logging() -> Iterator[None]:
    """Put the process's logging back as it was: packs set levels and replace handlers of everybody."""
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, logging.root.manager.disable
    try:
        yield
    finally:
        added = [item for item in root.handlers if item not in handlers and type(item) is not logging.StreamHandler]
        root.handlers[:] = [*handlers, *added]  # a plain stream would only say everything twice
        root.setLevel(level)
        logging.disable(disabled)
