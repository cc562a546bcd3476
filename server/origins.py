"""Which web pages may use this server: those that it served itself. Programs, which are no pages, are not looked at.

A browser says where a page comes from by `Origin` and `Sec-Fetch-Site`, and by which name it reached the server by
`Host`: a page of another site that had its own name lead to this address (DNS rebinding) comes with that name.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from executor.settings import is_loopback
from server.middleware import CHANGING_METHODS, problem

log = logging.getLogger("weft.front")

HOME_ENDINGS = (".localhost", ".local", ".lan", ".home", ".internal", ".home.arpa", ".localdomain")
"""Endings of names that nobody can register: they lead where this network says."""


def own_pages(allowed_hosts: Collection[str] = (), *, any_host: bool = False) -> Middleware:
    """The middleware that refuses (403) what pages of other sites ask for, and answers OPTIONS.

    `allowed_hosts` are names that the server is reached by; `any_host`: a browser needs a key, which other names lack.
    """
    known = {name.lower() for name in (*allowed_hosts, socket.gethostname(), socket.getfqdn())}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        reason = foreign_page(request)
        if reason is None and not any_host and is_page(request) and not is_own_name(request.headers.get("Host"), known):
            reason = f"this server is not known as {request.headers.get('Host')!r}; --allow-host NAME makes it so"
        if reason is not None:
            log.warning("refused %s %s: %s", request.method, request.path, reason)
            return web.json_response(problem("foreign_origin", reason), status=403)
        return web.Response() if request.method == "OPTIONS" else await handler(request)

    return middleware


def foreign_page(request: web.Request) -> str | None:
    """Why a request is not one of this server's own pages or of a program; None for those.

    On a loopback address pages of other sites get nothing but by navigation; elsewhere they may look and not change.
    """
    origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
    acts = changes(request)
    if not acts and not _is_at_loopback(host):
        return None
    if origin is not None and is_other_origin(origin, host, acts=acts):
        return f"it comes from a page of {origin}"
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        navigates = request.headers.get("Sec-Fetch-Mode") == "navigate"
        if acts or not navigates:
            return "it comes from a page of another site"
    return None


@lru_cache(maxsize=256)
def _is_at_loopback(host: str) -> bool:
    """Tell whether a Host is a loopback address: every request is asked, and few hosts are named."""
    return is_loopback(bare_name(host))


def is_other_origin(origin: str, host: str, *, acts: bool) -> bool:
    """Tell whether an Origin names another host than `host` (or, named in both, port); no host at all may not act."""
    try:
        own, other = urlsplit(f"//{host.lower()}"), urlsplit(origin.lower())
        ports = own.port, other.port
    except ValueError:
        return True
    if not host:
        return False
    if other.hostname is None:
        return acts
    return own.hostname != other.hostname or (None not in ports and ports[0] != ports[1])


def changes(request: web.Request) -> bool:
    """Tell whether a request may change something, or opens a websocket."""
    return request.method in CHANGING_METHODS or request.headers.get("Upgrade", "").lower() == "websocket"


def is_page(request: web.Request) -> bool:
    """Tell whether a browser sends this, rather than a program."""
    told = request.headers
    return "Sec-Fetch-Site" in told or "Origin" in told or told.get("User-Agent", "").startswith("Mozilla/")


def is_own_name(host: str | None, known: Collection[str]) -> bool:
    """Tell whether a Host is an address, a name that only this network can have given, or one of the known names."""
    name = bare_name(host or "")
    if not name or "." not in name or name in known or name.endswith(HOME_ENDINGS):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def bare_name(host: str) -> str:
    """The name or address in a Host header, without port and brackets; "" where there is none."""
    try:
        return urlsplit(f"//{host.lower()}").hostname or ""
    except ValueError:
        return host.lower()
