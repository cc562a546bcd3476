"""Calls to addresses that users name: judged once, connected to what was judged, bounded."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from executor.errors import AddressRefused, FetchFailed
from server import outbound
from server.addresses import opened
from server.outbound import Outbound, own

LOOPBACK = ipaddress.ip_address("127.0.0.1")
Serve = Callable[[web.RouteTableDef], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server of some routes; gives its address."""
    servers = []

    async def start(routes: web.RouteTableDef) -> str:
        app = web.Application()
        app.add_routes(routes)
        servers.append(TestServer(app, host="127.0.0.1"))
        await servers[-1].start_server()
        return f"http://127.0.0.1:{servers[-1].port}"

    yield start
    for server in servers:
        await server.close()


def open_to(*entries: str, found: str = "127.0.0.1", asked: list[str] | None = None) -> Outbound:
    async def lookup(host: str, port: int) -> list:
        if asked is not None:
            asked.append(host)
        return [ipaddress.ip_address(found)]

    return Outbound(opened(entries), lookup=lookup)


async def get(guard: Outbound, url: str, most_bytes: int = 1000, timeout_s: float = 5.0):
    return await guard.get(url, most_bytes=most_bytes, timeout_s=timeout_s)


@pytest.fixture
async def hello(serve: Serve) -> str:
    routes = web.RouteTableDef()

    @routes.get("/")
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"hello", content_type="image/png")

    return await serve(routes)


async def test_what_was_opened_is_fetched(hello: str):
    found = await get(open_to("127.0.0.0/8"), hello)
    assert (found.body, found.content_type) == (b"hello", "image/png")


async def test_what_was_not_opened_is_not_even_connected_to(serve: Serve):
    seen = []
    routes = web.RouteTableDef()

    @routes.get("/")
    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response()

    url = await serve(routes)
    for guard, address in ((open_to(), url), (open_to(), url.replace("127.0.0.1", "innocent.example"))):
        with pytest.raises(AddressRefused, match="loopback"):
            await get(guard, address)
    assert seen == []


async def test_a_name_is_judged_by_where_it_leads():
    with pytest.raises(AddressRefused):
        await get(Outbound(opened([])), "http://localhost:8080/")


async def test_a_name_is_looked_up_once_so_that_it_cannot_change_after_it_was_judged(hello: str):
    asked: list[str] = []
    guard = open_to("127.0.0.1", asked=asked)
    assert (await get(guard, hello.replace("127.0.0.1", "rebinding.example"))).body == b"hello"
    assert asked == ["rebinding.example"]


async def test_no_socket_is_made_for_an_address_that_was_not_judged():
    make = outbound._gate([ipaddress.ip_address("8.8.8.8")])
    with pytest.raises(AddressRefused):
        make((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))


async def test_of_several_addresses_only_the_good_ones_are_used():
    async def lookup(host: str, port: int) -> list:
        return [LOOPBACK, ipaddress.ip_address("8.8.8.8")]

    guard = Outbound(opened([]), lookup=lookup)
    assert await guard._addresses(outbound.read_url("http://mixed.example/")) == [ipaddress.ip_address("8.8.8.8")]


async def test_a_redirect_is_judged_anew(serve: Serve):
    routes = web.RouteTableDef()

    @routes.get("/")
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://169.254.169.254/latest/meta-data")

    with pytest.raises(AddressRefused, match="link-local"):
        await get(open_to("127.0.0.1"), await serve(routes))


async def test_redirects_are_followed_a_few_times(serve: Serve):
    routes = web.RouteTableDef()

    @routes.get("/{left}")
    async def answer(request: web.Request) -> web.Response:
        left = int(request.match_info["left"])
        if left:
            raise web.HTTPTemporaryRedirect(f"/{left - 1}")
        return web.Response(text="there")

    url = await serve(routes)
    assert (await get(open_to("127.0.0.1"), f"{url}/{outbound.MOST_REDIRECTS}")).body == b"there"
    with pytest.raises(FetchFailed, match="redirects more than"):
        await get(open_to("127.0.0.1"), f"{url}/{outbound.MOST_REDIRECTS + 1}")


async def test_a_body_that_is_too_large_is_left_whether_its_size_is_told_or_not(serve: Serve):
    routes = web.RouteTableDef()

    @routes.get("/told")
    async def told(request: web.Request) -> web.Response:
        return web.Response(body=bytes(2000))

    @routes.get("/chunked")
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(bytes(2000))
        await response.write_eof()
        return response

    url = await serve(routes)
    for path in ("/told", "/chunked"):
        with pytest.raises(FetchFailed, match="more than 1000 bytes"):
            await get(open_to("127.0.0.1"), url + path)


async def test_a_server_that_dawdles_is_left(serve: Serve):
    routes = web.RouteTableDef()
    gone = asyncio.Event()

    @routes.get("/")
    async def answer(request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    url = await serve(routes)
    with pytest.raises(FetchFailed, match="longer than"):
        await get(open_to("127.0.0.1"), url, timeout_s=0.05)
    gone.set()


@pytest.mark.parametrize("status", [204, 404, 500])
async def test_other_answers_give_nothing(serve: Serve, status: int):
    routes = web.RouteTableDef()

    @routes.get("/")
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status)

    with pytest.raises(FetchFailed, match=str(status)):
        await get(open_to("127.0.0.1"), await serve(routes))


async def test_a_closed_port_is_told_without_the_secret_parts_of_the_address(unused_tcp_port: int):
    with pytest.raises(FetchFailed) as told:
        await get(open_to("127.0.0.1"), f"http://127.0.0.1:{unused_tcp_port}/secret?token=secret")
    assert "secret" not in str(told.value)


async def test_a_post_sends_body_and_headers_and_follows_nothing(serve: Serve):
    seen = []
    routes = web.RouteTableDef()

    @routes.post("/")
    async def answer(request: web.Request) -> web.Response:
        seen.append((await request.read(), request.headers["X-Some"]))
        return web.Response(status=307, headers={"Location": "/", "Retry-After": "7"})

    told = await open_to("127.0.0.1").post(await serve(routes), b"body", {"X-Some": "thing"}, timeout_s=5)
    assert (told.status, told.retry_after, seen) == (307, "7", [(b"body", "thing")])


def test_an_address_of_this_machine_is_known_as_its_own():
    assert own(LOOPBACK) is not None
    assert own(ipaddress.ip_address("8.8.8.8")) is None


def test_written_addresses_are_judged_before_anything_is_fetched():
    with pytest.raises(AddressRefused):
        Outbound(opened([])).check("http://[::1]:8188/")
    Outbound(opened(["::1"])).check("http://[::1]:8188/")
    Outbound(opened([])).check("https://example.org/")
