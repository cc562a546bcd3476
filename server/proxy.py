"""Hands requests that no route of the front knows to the worker that hosts the packs. Knows no pack and no route.

Bodies flow both ways as they come, websockets too. A pack's route may take as long as it likes: every exchange has a
connection of its own, and one that hangs holds up nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
from aiohttp import WSMsgType, web

from executor.engine.base import WorkerInfo
from executor.errors import NotReady
from server.packs import PackHost

T = TypeVar("T")
Headers = list[tuple[str, str]]

NO_ROUTE = "Weft-No-Route"
"""Header of the worker's answer to an address that none of its packs knows."""
TOKEN = "Weft-Token"
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of one connection, not of the message (RFC 9110 section 7.6.1)."""
UNASKED = frozenset({"/user.css", "/api/user.css"})
"""What the web front end looks for at every start, with or without packs: it must not wait for a worker."""
AUTOMATIC = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})
LOOK_S = 0.5
"""How often to look whether the client is still there while a pack's route takes its time."""
LINE_BYTES = 1 << 16
UNSENDABLE_CODES = frozenset({None, 1005, 1006, 1015})
"""Codes of a websocket's end that no frame may carry (RFC 6455 section 7.4.1)."""
STARTING = "the worker that serves the routes of packs is still starting"
ENDED = "the worker that serves the routes of packs ended; a new one starts"


class PackProxy:
    """The way to the routes of packs; `has_packs` tells (slowly) whether there may be any at all."""

    def __init__(
        self, packs: PackHost, host: Callable[[], WorkerInfo], has_packs: Callable[[], bool], *, wait_s: float
    ) -> None:
        self._packs = packs
        self._host = host
        self._has_packs = has_packs
        self._wait_s = wait_s
        self._session: tuple[str, aiohttp.ClientSession] | None = None  # with the address it leads to

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        """The answer of a pack's route, None if no pack knows the address; NotReady while packs cannot answer."""
        address = await self._address(request)
        if not address:
            return None
        session = await self._open(address)
        try:
            if _is_upgrade(request):
                return await _join_sockets(request, session, address)
            return await _while_connected(request, _exchange(request, session, address))
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            if _is_gone(request):
                raise ConnectionResetError from error
            raise NotReady(ENDED) from error

    async def close(self) -> None:
        """End every exchange."""
        if self._session is not None:
            await self._session[1].close()
            self._session = None

    async def _address(self, request: web.Request) -> str:
        """Where the packs are served; empty if they serve nothing. Waits while the worker starts, for a time."""
        packs = self._packs
        if packs.is_live or request.path in UNASKED:
            return packs.told.address
        expected = await asyncio.to_thread(self._has_packs) if packs.had_routes is None else packs.had_routes
        if not expected:
            return ""
        if self._host().state == "dead":
            raise NotReady(ENDED)
        if not await packs.arrived(self._wait_s):
            raise NotReady(STARTING)
        return packs.told.address

    async def _open(self, address: str) -> aiohttp.ClientSession:
        if self._session is not None and self._session[0] == address:
            return self._session[1]
        old, self._session = self._session, (address, _session(address))
        if old is not None:
            await old[1].close()  # its worker is gone
        return self._session[1]


def _session(address: str) -> aiohttp.ClientSession:
    """Connections to "unix:PATH" or "tcp:HOST:PORT/TOKEN": any number, each for one exchange."""
    kind, _, place = address.partition(":")
    if kind == "unix":
        return _session_over("http://packs", aiohttp.UnixConnector(place, limit=0, force_close=True))
    return _session_over(f"http://{place.partition('/')[0]}", aiohttp.TCPConnector(limit=0, force_close=True))


def _session_over(base: str, connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        base,
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=AUTOMATIC,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        max_line_size=LINE_BYTES,
        max_field_size=LINE_BYTES,
    )


# ---------------------------------------------------------------- requests and answers


async def _exchange(request: web.Request, session: aiohttp.ClientSession, address: str) -> web.StreamResponse | None:
    headers = _headers(request, address, leave_out=())
    body = request.content if request.body_exists else None
    async with session.request(
        request.method, request.rel_url, headers=headers, data=body, allow_redirects=False
    ) as told:
        if NO_ROUTE in told.headers:
            return None
        answer = web.StreamResponse(status=told.status, reason=told.reason, headers=_passed_on(told.headers))
        await answer.prepare(request)
        try:
            if request.method != "HEAD":
                async for chunk in told.content.iter_any():
                    await answer.write(chunk)
            await answer.write_eof()
        except aiohttp.ClientError as error:  # half an answer must not look like a whole one
            _cut(request)
            raise ConnectionResetError("the worker ended in the middle of an answer") from error
        return answer


async def _while_connected(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """Do something for a client as long as it is there; ConnectionResetError when it goes."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
            if _is_gone(request):
                raise ConnectionResetError("the client is gone")
        return task.result()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


def _headers(request: web.Request, address: str, leave_out: Collection[str]) -> Headers:
    """The headers of a request as the worker gets them; `Expect` is answered by the front."""
    left_out = {*leave_out, "expect", TOKEN.lower(), "x-forwarded-for"}
    headers = [(name, value) for name, value in _passed_on(request.headers) if name.lower() not in left_out]
    before = request.headers.getall("X-Forwarded-For", [])
    headers.append(("X-Forwarded-For", ", ".join([*before, request.remote or "unknown"])))
    kind, _, place = address.partition(":")
    return [*headers, (TOKEN, place.partition("/")[2])] if kind == "tcp" else headers


def _passed_on(headers: Mapping[str, str]) -> Headers:
    """A message's headers, repeated ones too, without those of its connection."""
    pairs = [(name, value) for name, value in headers.items()]
    named = {word.strip().lower() for name, value in pairs if name.lower() == "connection" for word in value.split(",")}
    return [(name, value) for name, value in pairs if name.lower() not in HOP_BY_HOP | named]


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


# ---------------------------------------------------------------- websockets


def _is_upgrade(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def _join_sockets(
    request: web.Request, session: aiohttp.ClientSession, address: str
) -> web.StreamResponse | None:
    """Join the client's websocket to the one of a pack's route, until either ends."""
    own = {name.lower() for name in request.headers if name.lower().startswith("sec-websocket-")}
    headers = _headers(request, address, leave_out=own)
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    protocols = [name.strip() for name in offered.split(",") if name.strip()]
    try:
        far = await session.ws_connect(
            request.rel_url, headers=headers, protocols=protocols, autoping=False, max_msg_size=0
        )
    except aiohttp.WSServerHandshakeError as refusal:
        return _refusal(refusal)
    async with far:
        near = web.WebSocketResponse(
            protocols=[far.protocol] if far.protocol else [], autoping=False, compress=False, max_msg_size=0
        )
        await near.prepare(request)
        ways = {asyncio.ensure_future(_pass_on(near, far)), asyncio.ensure_future(_pass_on(far, near))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        await _close(near, far.close_code)
        await _close(far, near.close_code)
        return near


def _refusal(refusal: aiohttp.WSServerHandshakeError) -> web.Response | None:
    if refusal.headers is not None and NO_ROUTE in refusal.headers:
        return None
    status = refusal.status if refusal.status >= HTTPStatus.BAD_REQUEST else HTTPStatus.BAD_REQUEST
    return web.Response(status=status, text=refusal.message)


Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pass_on(source: Socket, sink: Socket) -> None:
    """Send on what one side says until it ends."""
    async for message in source:
        send: dict[WSMsgType, Callable[[Any], Awaitable[None]]] = {
            WSMsgType.TEXT: sink.send_str,
            WSMsgType.BINARY: sink.send_bytes,
            WSMsgType.PING: sink.ping,
            WSMsgType.PONG: sink.pong,
        }
        if message.type not in send:  # an error of the connection
            return
        await send[message.type](message.data)


async def _close(socket: Socket, code: int | None) -> None:
    with suppress(ConnectionError, RuntimeError):
        await socket.close(code=1001 if code in UNSENDABLE_CODES or code is None else code)
