"""The packs of one worker: loads them in order, and answers for them as long as the worker lives."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from aiohttp import web

from executor.context import RunContext, entered
from executor.errors import NotReady, exit_words
from executor.inference import seams
from executor.messages import Packs as Told
from nodes import bridge, placeholders
from nodes.packs.discover import PRESTART, Pack
from nodes.packs.load import (
    as_on_loop,
    classes_of,
    display_names_of,
    import_pack,
    kept_logging,
    offers_nodes,
    web_folders_of,
)
from nodes.packs.marks import Mark
from nodes.packs.prestart import run_prestart
from nodes.packs.report import PackReport, Reports, advice, inside_pack, missed, table
from nodes.packs.restart import answer_restarts
from nodes.packs.routes import RouteBook
from nodes.prompt_server import PromptServer

if TYPE_CHECKING:
    from executor.worker.line import Line
    from executor.worker.services import Described, Services
    from nodes.registry import Registry

log = logging.getLogger("weft.packs")

SLOW_S = 0.1

COMPAT = Path(__file__).parents[1] / "compat"
KNOWN_FIRST = (
    *("server", "folder_paths", "comfy", "comfy.cli_args", "comfy.utils", "comfy.model_management", "comfy.samplers"),
    *("node_helpers", "latent_preview", "execution", "comfy_execution", "comfy_api", "comfy_extras"),
)
"""Imported before any pack, so that no folder a pack puts on sys.path can take their names."""


class Packs:
    """What the packs of this worker brought; `registry` is None until `load`."""

    def __init__(self, found: Iterable[Pack], services: Services, line: Line) -> None:
        self.services = services
        self.registry: Registry | None = None
        self.reports = Reports(found)
        self.server = PromptServer(line, services.settings, services.folders.user, bridge.asked)
        self._line = line
        self._unlisted: dict[str, tuple[PackReport, object]] = {}  # tried again after each prompt
        self._routes = RouteBook(self.server)
        self._mark = Mark(line.run_folder, line.worker)

    # ---------------------------------------------------------------- start

    def prestart(self) -> None:
        """Open the way for imports inside packs and run their prestartup scripts."""
        if not self._allowed():
            return  # what lies there is only told of
        bridge.open_for(self)
        self._line.watcher = self.server
        _extend_path(self.services.folders.base)
        placeholders.install()
        if self._line.owns_process:
            # Packs look here for the folder that everything lies in, and for flags.
            sys.argv[:] = [str(self.services.folders.base / "main.py")]
            sys.modules["__main__"].__file__ = sys.argv[0]
            answer_restarts(self._line)
        with kept_logging(), entered(RunContext(services=self.services)):
            failed = run_prestart((row.pack for row in self._allowed()), self._mark.around)
        for row in self._allowed():
            row.traceback = failed.get(row.pack.key, "")
            row.error = f"{PRESTART} failed" if row.traceback else ""

    def load(self, registry: Registry) -> None:
        """Import every allowed pack and take its nodes in; a pack that fails is reported and left out."""
        self.registry = registry
        rows = self._allowed()
        if not rows:
            return
        bridge.live("NODE_CLASS_MAPPINGS").update({name: registry.get(name)[1] for name in registry.definitions})
        with entered(RunContext(services=self.services)):
            _import_first()
            for row in rows:
                self._load(row)
            # Packs change classes of ours and the lists these offer.
            with entered(RunContext(services=self.services.of_nobody())):
                registry.fresh([name for name in registry.definitions if registry.builtin(name)])
        log.info("%s", table(rows))

    def _load(self, row: PackReport) -> None:
        if not row.pack.source.is_file():
            row.state = "empty"
            return
        began_s = time.monotonic()
        self.reports.loading = row
        hooks = len(self.server.on_prompt_handlers)
        try:
            with kept_logging(), self._mark.around(row.pack):
                with as_on_loop(self._line.loop):
                    module = import_pack(row.pack)
                self._take(row, module)
        except (Exception, SystemExit) as failure:  # noqa: BLE001  # border: a pack's code may raise anything
            self._fail(row, failure)
        finally:
            row.seconds = time.monotonic() - began_s
            row.routes += self._routes.new()
            row.hooks = len(self.server.on_prompt_handlers) - hooks
            self._adopt(row)
            self.reports.loading = None

    def _take(self, row: PackReport, module: ModuleType) -> None:
        """Take in what an imported pack offers."""
        folders = web_folders_of(row.pack, module)
        bridge.live("EXTENSION_WEB_DIRS").update(folders)
        bridge.live("LOADED_MODULE_DIRS")[row.pack.name] = str(row.pack.path)
        row.web = next(iter(folders.values()), "")
        bridge.live("NODE_DISPLAY_NAME_MAPPINGS").update(display_names_of(module))
        row.state = "loaded"
        for name, cls in classes_of(module).items():
            if bridge.live("NODE_CLASS_MAPPINGS").get(name) is not cls:  # else it is the table of all nodes, imported
                self._add(row, str(name), cls)
        if not (row.nodes or row.failed_nodes or offers_nodes(module)):
            row.state = "empty"
            log.info("pack %s brings no nodes (no NODE_CLASS_MAPPINGS, no comfy_entrypoint)", row.pack.name)

    def _add(self, row: PackReport, name: str, cls: object, *, force: bool = False, late: bool = False) -> None:
        registry, shown = self.registry, bridge.live("NODE_DISPLAY_NAME_MAPPINGS").get(name)
        assert registry is not None
        try:
            if not isinstance(cls, type):
                raise TypeError(f"{name!r} stands for {cls!r}, which is no class")
            _mark_class(cls, row.pack.module)
            with entered(RunContext(services=self.services.of_nobody())):
                taken = registry.add(
                    cls,
                    name=name,
                    shown=None if shown is None else str(shown),
                    pack=row.pack.module,
                    force=force,
                    late=late,
                )
        except Exception as failure:  # border: INPUT_TYPES of a pack may raise anything
            if name not in row.failed_nodes:
                log.warning("pack %s: node %s cannot be listed", row.pack.name, name, exc_info=True)
            row.failed_nodes[name] = f"{type(failure).__name__}: {failure}"
            self._unlisted[name] = (row, cls)
            return
        row.failed_nodes.pop(name, None)
        self._unlisted.pop(name, None)
        if taken:
            row.nodes += [name] if name not in row.nodes else []
            bridge.live("NODE_CLASS_MAPPINGS")[name] = cls

    def _fail(self, row: PackReport, failure: BaseException) -> None:
        row.state = "failed"
        row.error = f"{type(failure).__name__}: {failure}"
        if isinstance(failure, SystemExit):
            row.error = f"its import ended by {exit_words(failure)}"
        inside = inside_pack(failure, row.pack.path)
        row.traceback = "".join(traceback.format_exception(type(failure), failure, inside))
        if name := missed(failure):
            row.miss(name)
        hint = advice(failure, row.pack.path)
        log.error(
            "pack %s cannot be loaded: %s%s",
            row.pack.name,
            row.error,
            f"\n{hint}" if hint else "",
            exc_info=(type(failure), failure, inside),
        )

    def _adopt(self, row: PackReport, *, late: bool = False) -> None:
        """Take over what a pack did to the dict of all nodes itself: classes added, put in another's place, removed."""
        registry, mapping = self.registry, bridge.live("NODE_CLASS_MAPPINGS")
        if registry is None:
            return
        for name, cls in list(mapping.items()):
            if name not in row.failed_nodes and (name not in registry or registry.get(name)[1] is not cls):
                self._add(row, str(name), cls, force=True, late=late)
        for name in list(registry.definitions):
            if name not in mapping and not (late or registry.builtin(name)):
                registry.remove(name)

    # ---------------------------------------------------------------- afterwards

    @property
    def app(self) -> web.Application | None:
        """The application that serves the packs' routes; None when there are none."""
        return self._routes.finished()

    def hook(self, body: dict[str, object]) -> dict[str, object]:
        """The body of a POST /prompt after the packs' hooks."""
        return self.server.trigger_on_prompt(body)

    def describe(self, names: Iterable[str]) -> Described:
        """Fresh definitions and listings of classes; UnknownName for one that is not there."""
        if self.registry is None:
            raise NotReady("the nodes are still being loaded")
        with entered(RunContext(services=self.services.of_nobody())):
            return self.registry.fresh(names)

    def seen(self, owner: str, names: Iterable[str], *, differing: bool, limit_s: float) -> Described:
        """Classes as an owner's prompts see them: these, and all that are listed otherwise than they were told."""
        if self.registry is None:
            raise NotReady("the nodes are still being loaded")
        with entered(RunContext(services=self.services.of(owner))):
            return self.registry.seen(names, differing=differing, limit_s=limit_s)

    def changed(self, limit_s: float, enough: Callable[[], bool]) -> Described:
        """The same of pack classes that are listed otherwise than when they were told, as far as time allows."""
        if self.registry is None or not self._allowed():
            return [], {}
        with entered(RunContext(services=self.services.of_nobody())):
            self._try_again(limit_s, enough)
            self._adopt(self._allowed()[-1], late=True)
            return self.registry.changed(limit_s, enough)

    def _try_again(self, limit_s: float, enough: Callable[[], bool]) -> None:
        """Take in classes that could not be listed before; one that takes long to fail is given up."""
        until_s = time.monotonic() + limit_s
        for name, (row, cls) in list(self._unlisted.items()):
            began_s = time.monotonic()
            if began_s > until_s or enough():
                return
            self._add(row, name, cls, late=True)
            if time.monotonic() - began_s > SLOW_S:
                self._unlisted.pop(name, None)

    def told(self, address: str) -> Told:
        """What the front has to know of the packs."""
        rows = [row.told(_replaced(row.pack.key) if row.pack.allowed else ()) for row in self.reports.rows]
        return Told(
            web_dirs=tuple((str(name), str(path)) for name, path in bridge.live("EXTENSION_WEB_DIRS").items()),
            address=address,
            hooks=bool(self.server.on_prompt_handlers),
            report_json=json.dumps(rows).encode(),
            folders=self.services.folders.changed_kinds(),
        )

    def close(self) -> None:
        """Take back what imports inside packs find."""
        placeholders.remove()
        _forget_stand_ins()
        bridge.close()

    def _allowed(self) -> list[PackReport]:
        return [row for row in self.reports.rows if row.pack.allowed]


def _extend_path(base: Path) -> None:
    """Let packs import our stand-ins by name before anything else, and what lies in the base directory at last."""
    for place, folder in ((0, str(COMPAT)), (len(sys.path), str(base))):
        if folder not in sys.path:
            sys.path.insert(place, folder)


def _forget_stand_ins() -> None:
    """Let a later worker of this process import stand-ins of its own: they are bound to their worker's services."""
    sys.path[:] = [folder for folder in sys.path if folder != str(COMPAT)]
    for name, module in list(sys.modules.items()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None)
        if isinstance(origin, str) and origin.startswith(f"{COMPAT}{os.sep}"):
            del sys.modules[name]


def _import_first() -> None:
    for name in KNOWN_FIRST:
        try:
            importlib.import_module(name)
        except Exception:  # a stand-in that this machine cannot import is missed by who wants it, not by all
            log.exception("the stand-in for %s cannot be imported", name)


def _mark_class(cls: type, module: str) -> None:
    """Set the attribute by which packs find out where a class came from."""
    try:
        cls.RELATIVE_PYTHON_MODULE = module  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        log.debug("%r takes no attribute", cls)


def _replaced(key: str) -> list[str]:
    """The seams of the core that functions of a pack's modules have replaced."""
    return [row["seam"] for row in seams.report() if row["replaced_by"].startswith(key)]
