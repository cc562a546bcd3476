"""Who may come in: finds the key of a request, and whether its scopes suffice. Knows no route's work.

A token comes as `Authorization: Bearer`, as the password of Basic, as `?token=` or, in a browser, as the cookie that
Basic and the page `/?token=…` set. What a browser sends by itself (cookie, Basic) is not taken from pages of other
sites where something changes.
"""

from __future__ import annotations

import base64
import binascii
import html
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from server.keys import Key, KeyRing, Scope
from server.middleware import CHANGING_METHODS, problem
from server.origins import changes, is_other_origin
from server.spaces import KEY
from server.state import front
from server.strays import ANY_PAGE

COOKIE = "weft_session"
COOKIE_LIFE_S = 30 * 24 * 3600
OPEN = frozenset({"/health", "/ready"})
"""Paths that need no key: what asks whether the server lives has none."""
SUBMITTING = frozenset({"/prompt", "/queue", "/interrupt", "/upload/image", "/upload/mask", "/weft/run"})
SUBMITTING_BELOW = ("/jobs/", "/weft/jobs/", "/userdata/", "/settings", "/users")
MANAGING_BELOW = ("/internal/logs",)
OF_ALL = frozenset({"/metrics"})
"""What tells of everybody's prompts and cannot be told of one key's alone."""
OWN = frozenset({"/history"})
"""What takes the scope `manage` to change, but where a key changes only what is its own."""
CHALLENGE = 'Basic realm="Weft", charset="UTF-8"'
_OPENING = """<!doctype html><meta charset="utf-8"><title>Weft</title>
<meta http-equiv="refresh" content="0;url={address}"><a href="{address}">Weft</a>
"""

Way = Literal["bearer", "basic", "query", "cookie"]


@dataclass(frozen=True, slots=True)
class Entrance:
    """The key that a request came with, and the way it came."""

    key: Key
    way: Way


def needed_scope(method: str, path: str, *, of_a_pack: bool = False) -> Scope | None:
    """The scope that a request needs; None: no key at all. What packs do on GET nobody knows: it is no mere look."""
    bare = path.removeprefix("/api")
    if path in OPEN or bare in OPEN:
        return None
    if bare.startswith(MANAGING_BELOW):
        return "manage"
    if method not in CHANGING_METHODS:
        return "submit" if of_a_pack else "read"
    return "submit" if bare in SUBMITTING or bare.startswith(SUBMITTING_BELOW) else "manage"


def own_scope(method: str, path: str, *, of_a_pack: bool = False) -> Scope | None:
    """The same for a key that sees and changes only what is its own."""
    bare = path.removeprefix("/api")
    if bare in OF_ALL:
        return "manage"
    return "submit" if method == "POST" and bare in OWN else needed_scope(method, path, of_a_pack=of_a_pack)


def may_be_a_packs(request: web.Request) -> bool:
    """Tell whether a request meets no route of the front, nor a file of the web interface."""
    if request.match_info.http_exception is not None:
        return True
    resource = request.match_info.route.resource
    if resource is None or resource.canonical != ANY_PAGE:
        return False
    return front(request).web.page(request.match_info["name"]) is None


def authenticate(ring: KeyRing, *, separate: bool = False) -> Middleware:
    """The middleware that lets in who has a key for what is asked (401 without one, 403 where its scopes end)."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        of_a_pack = may_be_a_packs(request)
        scope = needed_scope(request.method, request.path, of_a_pack=of_a_pack)
        if scope is None:
            return await handler(request)
        entrance = find_entrance(request, ring)
        if entrance is None:
            return _refused(401, "key_needed", "this server asks for a key: send `Authorization: Bearer TOKEN`")
        if entrance.way in ("basic", "cookie") and _is_sent_by_another_site(request):
            return _refused(
                403, "foreign_origin", f"pages of {request.headers['Origin']} may not use this browser's key"
            )
        if separate and not entrance.key.sees_all:
            scope = own_scope(request.method, request.path, of_a_pack=of_a_pack)
        if scope not in entrance.key.scopes:
            return _refused(403, "scope_needed", f"the key {entrance.key.name!r} lacks the scope {scope!r}")
        request[KEY] = entrance.key
        if entrance.way == "query" and request.method == "GET" and request.path == "/":
            return _opening(request, entrance.key)
        response = await handler(request)
        if entrance.way == "basic" and not response.prepared:
            _remember(request, response, entrance.key)
        return response

    return middleware


def find_entrance(request: web.Request, ring: KeyRing) -> Entrance | None:
    """The key that a request brings and how; None where it brings none that fits."""
    way, token = _given(request)
    if way is not None:
        key = ring.of_token(token)
        return Entrance(key, way) if key is not None else None
    session = request.cookies.get(COOKIE)
    key = ring.of_session(session) if session is not None else None
    return Entrance(key, "cookie") if key is not None else None


def _given(request: web.Request) -> tuple[Way | None, str]:
    """The token that a request names itself."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return "bearer", rest.strip()
    if scheme.lower() == "basic":
        try:
            told = base64.b64decode(rest.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            told = ""
        return "basic", told.partition(":")[2]
    if "token" in request.query:
        return "query", request.query["token"]
    return None, ""


def _is_sent_by_another_site(request: web.Request) -> bool:
    origin, host = request.headers.get("Origin"), request.headers.get("Host", "")
    return origin is not None and changes(request) and is_other_origin(origin, host, acts=True)


def _refused(status: int, kind: str, message: str) -> web.Response:
    headers = {"WWW-Authenticate": CHALLENGE} if status == 401 else None
    return web.json_response(problem(kind, message), status=status, headers=headers)


def _opening(request: web.Request, key: Key) -> web.Response:
    """A page that keeps the key and leads on to the address without the token.

    No redirect: after a link on another site a browser would not send the strict cookie along with one.
    """
    address = html.escape(str(request.rel_url.without_query_params("token")), quote=True)
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    response = web.Response(text=_OPENING.format(address=address), content_type="text/html", headers=headers)
    _remember(request, response, key)
    return response


def _remember(request: web.Request, response: web.StreamResponse, key: Key) -> None:
    response.set_cookie(
        COOKIE,
        key.session(),
        max_age=COOKIE_LIFE_S,
        httponly=True,
        samesite="Strict",
        secure=request.secure or request.headers.get("X-Forwarded-Proto") == "https",
        path="/",
    )
