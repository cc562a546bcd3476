"""Requests that no route takes: what their address does know, and answers that aiohttp alone would get wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web
from aiohttp.web_urldispatcher import MatchInfoError, UrlMappingMatchInfo
from yarl import URL

from server.middleware import expected

Expecting = Callable[[web.Request], Awaitable[web.StreamResponse | None]]

ANY_PAGE = "/{name}"
"""The pattern of the route that shows the web interface's files, and asks the packs for every other address."""


async def methods_of(app: web.Application, request: web.Request) -> set[str]:
    """The methods that an application's routes know for a request's address, but for the one that takes every path."""
    found: set[str] = set()
    for resource in app.router.resources():
        if resource.canonical != ANY_PAGE and not isinstance(resource, Strays):
            found |= (await resource.resolve(request))[1]
    return found


class Strays(web.AbstractResource):
    """The last row of the routes, at every path and for every method: 405, with the methods that would do."""

    canonical = "/"

    def __init__(self, app: web.Application) -> None:
        super().__init__()
        self._app = app

    async def resolve(self, request: web.Request) -> tuple[UrlMappingMatchInfo | None, set[str]]:
        """No route, in a form that takes any `Expect`."""
        methods = await methods_of(self._app, request) or {"GET", "HEAD"}
        return _NoRoute(web.HTTPMethodNotAllowed(request.method, methods)), methods

    def url_for(self, **kwargs: str) -> URL:
        """Nowhere in particular."""
        return URL("/")

    def add_prefix(self, prefix: str) -> None:
        """It is at every path already."""

    def get_info(self) -> dict[str, str]:  # type: ignore[override]  # aiohttp's type of it is private
        """Nothing to tell."""
        return {}

    def raw_match(self, path: str) -> bool:
        """It is no place for further routes."""
        return False

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(())


class _NoRoute(MatchInfoError):
    """What aiohttp calls no match: its own answer to `Expect` fails at bytes that are no Unicode."""

    @property
    def expect_handler(self) -> Expecting:
        return expected
