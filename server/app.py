"""Puts routes, their /api twins and middlewares together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from executor.settings import Settings
from server import middleware
from server.access import authenticate
from server.keys import KeyRing
from server.origins import own_pages
from server.routes import ALL, BARE
from server.routes.packs import pack_routes
from server.state import FRONT, Front
from server.strays import Strays
from server.turns import TURNS, Turns

MOST_FIELDS = 100
"""Fields of a form."""
PROTOCOL: dict[str, Any] = {"auto_decompress": False}
"""What aiohttp's runner is told beside the application: packed bodies are unpacked where they are read."""


def make_app(front: Front) -> web.Application:
    """The application that serves `front`."""
    settings = front.settings
    app = web.Application(
        client_max_fields=MOST_FIELDS,
        client_max_size=settings.upload_bytes,
        middlewares=[middleware.measured(front.metrics), *_middlewares(settings, front.keys)],
    )
    app[FRONT] = front
    app[TURNS] = Turns()
    app.on_response_prepare.append(middleware.add_cache_header)
    app.on_response_prepare.append(middleware.add_type_header)
    if settings.cors_origin is not None:
        app.on_response_prepare.append(middleware.cors_headers(settings.cors_origin))
    for table in (*ALL, *BARE):
        app.router.add_routes(expecting(table))
    for table in ALL:
        app.router.add_routes(expecting(twins(table)))
    app.router.register_resource(Strays(app))
    return app


def twins(table: Iterable[web.AbstractRouteDef]) -> list[web.RouteDef]:
    """The same routes below /api."""
    return [
        web.RouteDef(route.method, "/api" + route.path, route.handler, route.kwargs)
        for route in table
        if isinstance(route, web.RouteDef)
    ]


def expecting(table: Iterable[web.AbstractRouteDef]) -> list[web.AbstractRouteDef]:
    """The same routes with an answer to `Expect` of their own: aiohttp's fails at bytes that are no Unicode."""
    return [
        web.RouteDef(route.method, route.path, route.handler, {**route.kwargs, "expect_handler": middleware.expected})
        if isinstance(route, web.RouteDef)
        else route
        for route in table
    ]


def _middlewares(settings: Settings, keys: KeyRing) -> list[Middleware]:
    return [
        middleware.answer_options
        if settings.cors_origin is not None
        else own_pages(settings.allowed_hosts, any_host=bool(keys)),
        middleware.errors,
        *([authenticate(keys, separate=settings.isolate_keys)] if keys else []),
        *([middleware.compress] if settings.compress else []),
        pack_routes,
    ]
