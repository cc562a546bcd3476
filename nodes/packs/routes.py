"""The routes that packs register: which pack, which path, and the application that serves them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from nodes.prompt_server import PromptServer

log = logging.getLogger("weft.packs")

Start = Callable[[web.Application], Awaitable[object]]

PREFIX = "/api"
"""Every route of the table answers below this too; a static folder and what goes past the table do not."""


class RouteBook:
    """Notes what is registered on a facade's `routes` and `app`."""

    def __init__(self, server: PromptServer) -> None:
        self._server = server
        self._rows, self._resources = 0, 0
        self._own_starts = len(server.app.on_startup)  # aiohttp's; what comes after is the packs'
        self._finished = False
        self._any = False

    def new(self) -> list[str]:
        """What was registered since the last call, as "GET /path"."""
        names = [*self._new_rows(), *self._new_resources()]
        self._any = self._any or bool(names)
        return names

    def finished(self) -> web.Application | None:
        """The application with every route in it; None when there is none, nor anything to be started with it."""
        self.new()
        app = self._server.app
        if not (self._any or app.cleanup_ctx or len(app.on_startup) > self._own_starts):
            return None
        if not self._finished:
            self._finished = True
            self._fill()
            app.on_startup[self._own_starts :] = map(_guarded, app.on_startup[self._own_starts :])
        return app

    def _new_rows(self) -> Iterator[str]:
        rows = list(self._server.routes)[self._rows :]
        self._rows += len(rows)
        for row in rows:
            if isinstance(row, web.RouteDef):
                yield f"{row.method} {row.path}"
            elif isinstance(row, web.StaticDef):
                yield f"GET {row.prefix}/"

    def _new_resources(self) -> Iterator[str]:
        resources = list(self._server.app.router.resources())[self._resources :]
        self._resources += len(resources)
        for resource in resources:
            for route in resource:
                if route.method != "HEAD":
                    yield f"{route.method} {resource.canonical}"

    def _fill(self) -> None:
        """Put the table's rows into the application, those below /api first."""
        rows = list(self._server.routes)
        twins = [
            web.RouteDef(row.method, PREFIX + row.path, row.handler, row.kwargs)
            for row in rows
            if isinstance(row, web.RouteDef)
        ]
        for row in (*twins, *rows):
            try:
                self._server.app.add_routes([row])
            except (RuntimeError, ValueError) as failure:
                log.warning("a pack's route is left out: %s (%r)", failure, row)


def _guarded(start: Start) -> Start:
    """What a pack does when the application starts, so that its failure costs no other pack its routes."""

    async def started(app: web.Application) -> None:
        try:
            await start(app)
        except Exception:  # border: the code of a pack may raise anything
            log.exception("a pack's start of the server's application failed")

    return started
