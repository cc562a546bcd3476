"""Calls addresses that users name, so that nobody reaches through this server what only it can reach.

A host is looked up once, each address it leads to is judged (`server/addresses.py`), and the socket goes to one that
was found good: a name that changes meanwhile (DNS rebinding) changes nothing. Each redirect is judged anew.
Certificates are verified; proxies of the environment, cookies and compressed bodies are not used.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from executor.errors import AddressRefused, FetchFailed
from server.addresses import Address, Opened, literal, origin, read_url, refusal
from server.version import weft_version

MOST_REDIRECTS = 3
CONNECT_S = 10.0
CHUNK = 1 << 18
REDIRECTS = frozenset({301, 302, 303, 307, 308})

Lookup = Callable[[str, int], Awaitable[list[Address]]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an address gave: the bytes, and the type it says they are."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """How a receiver answered: its status, and how long it wants to be left alone (seconds, or an HTTP date)."""

    status: int
    retry_after: str | None


class Outbound:
    """All calls that the front makes to addresses of others."""

    def __init__(self, opened: Opened, *, lookup: Lookup | None = None) -> None:
        self._opened = opened
        self._lookup = lookup or look_up

    def check(self, text: str) -> None:
        """Raise AddressRefused for an address that would not be called, as far as that is known without a look-up."""
        url = read_url(text)
        host = url.raw_host or ""
        address = literal(host)
        if address is not None:
            self._require_good(host, [address])

    async def get(self, text: str, *, most_bytes: int, timeout_s: float) -> Fetched:
        """Fetch an address over at most MOST_REDIRECTS redirects.

        AddressRefused where it, or one it leads to, may not be called; FetchFailed when it gives nothing, gives more
        than `most_bytes`, or takes longer than `timeout_s`.
        """
        async with _told(text, timeout_s), asyncio.timeout(timeout_s):
            url = read_url(text)
            for _ in range(MOST_REDIRECTS + 1):
                async with self._request("GET", url) as response:
                    if response.status not in REDIRECTS:
                        return await _read(response, most_bytes)
                    url = _next(url, response)
        raise FetchFailed(f"{origin(text)} redirects more than {MOST_REDIRECTS} times")

    async def post(self, text: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float) -> Answer:
        """Send a body; the answer's own body is not read, and no redirect followed. Errors as in `get`."""
        async with (
            _told(text, timeout_s),
            asyncio.timeout(timeout_s),
            self._request("POST", read_url(text), data=body, headers=headers) as response,
        ):
            return Answer(response.status, response.headers.get("Retry-After"))

    @asynccontextmanager
    async def _request(
        self, method: str, url: URL, *, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        addresses = await self._addresses(url)
        connector = aiohttp.TCPConnector(
            resolver=_Judged(addresses),
            socket_factory=_gate(addresses),
            use_dns_cache=False,
            force_close=True,
        )
        common = {"User-Agent": f"Weft/{weft_version()}", "Accept-Encoding": "identity"}
        async with (
            aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
            ) as session,
            session.request(
                method,
                url,
                data=data,
                headers={**common, **(headers or {})},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
            ) as response,
        ):
            yield response

    async def _addresses(self, url: URL) -> list[Address]:
        """The addresses of a URL's host that may be called; AddressRefused if there is none."""
        host = url.raw_host or ""
        written = literal(host)
        found = [written] if written is not None else await self._lookup(host, url.port or 0)
        return self._require_good(host, found)

    def _require_good(self, host: str, found: list[Address]) -> list[Address]:
        good: list[Address] = []
        told = ""
        for address in found:
            why = None if self._opened.has(host, address) else refusal(address) or own(address)
            if why is None:
                good.append(address)
            else:
                told = f"{host} is not called: it {why} (--allow-outbound opens it)"
        if not good:
            raise AddressRefused(told or f"{host} has no address")
        return good


async def look_up(host: str, port: int) -> list[Address]:
    """The addresses of a host name, as this machine's resolver tells them; FetchFailed for an unknown name."""
    try:
        told = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchFailed(f"the host {host} is not known") from error
    found = (literal(str(entry[4][0])) for entry in told)
    return list(dict.fromkeys(address for address in found if address is not None))


def own(address: Address) -> str | None:
    """Tell whether an address is this machine's own: then a packet to it would come from it. Sends nothing."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))
        except OSError:  # there is no way to it from here: connecting will tell
            return None
        return "is an address of this machine" if probe.getsockname()[0] == str(address) else None


class _Judged(AbstractResolver):
    """Answers every question of the connector with the addresses that were found good."""

    def __init__(self, addresses: list[Address]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[ResolveResult]:
        return [
            {
                "hostname": host,
                "host": str(address),
                "port": port,
                "family": socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                "proto": socket.IPPROTO_TCP,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _gate(addresses: list[Address]) -> aiohttp.SocketFactoryType:
    """What makes the connector's sockets: for the addresses that were found good and no other."""

    def make(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, target = info
        if literal(str(target[0])) not in addresses:
            raise AddressRefused(f"{target[0]} was not judged")
        return socket.socket(family, kind, protocol)

    return make


def _next(url: URL, response: aiohttp.ClientResponse) -> URL:
    """Where a redirect leads; never from HTTPS to HTTP."""
    place = response.headers.get("Location", "")
    try:
        joined = url.join(URL(place))
    except ValueError as error:
        raise FetchFailed(f"{origin(url)} redirects to what is no address") from error
    target = read_url(str(joined))
    if url.scheme == "https" and target.scheme != "https":
        raise AddressRefused(f"{origin(url)} redirects from HTTPS to HTTP")
    return target


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> Fetched:
    where = origin(response.url)
    if response.status != 200:
        raise FetchFailed(f"{where} answered {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchFailed(f"{where} sends a compressed body, which was not asked for")
    told = response.content_length
    body = bytearray()
    if told is None or told <= most_bytes:
        async for chunk in response.content.iter_chunked(CHUNK):
            body += chunk
            if len(body) > most_bytes:
                break
        else:
            return Fetched(bytes(body), response.content_type)
    raise FetchFailed(f"{where} sends more than {most_bytes} bytes (--max-upload-size)")


@asynccontextmanager
async def _told(text: str, timeout_s: float) -> AsyncIterator[None]:
    """Say in words what came of a call, without the parts of the address that may be secret."""
    try:
        yield
    except TimeoutError as error:
        raise FetchFailed(f"{origin(text)} took longer than {timeout_s:g} s") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise FetchFailed(f"{origin(text)}: its certificate is not valid for it") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchFailed(f"{origin(text)} cannot be reached: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    reason = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__
