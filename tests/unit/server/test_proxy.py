"""Routes of packs: played by an application on a socket, as a worker serves them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import WSMsgType, web
from yarl import URL

from executor.engine.base import WorkerLost
from executor.messages import Packs

PATIENCE_S = 60.0


class PackWeb:
    """The routes of the packs, and what they noticed."""

    def __init__(self) -> None:
        self.app = web.Application(client_max_size=1 << 30, middlewares=[mark_unknown])
        self.app.add_routes(
            [
                web.route("*", "/pack/echo/{rest:.*}", self.echo),
                web.post("/pack/digest", self.digest),
                web.get("/pack/stream", self.stream),
                web.get("/pack/packed", self.packed),
                web.get("/pack/hang", self.hang),
                web.get("/pack/half", self.half),
                web.get("/pack/missing", self.missing),
                web.get("/pack/ws", self.ws),
                web.get("/pack/closed", self.closed),
                web.get("/queue", self.missing),
            ]
        )
        self.go_on = asyncio.Event()
        self.entered = asyncio.Event()
        self.left = asyncio.Event()
        self.hanging = 0
        self.heads: list[web.Request] = []

    async def echo(self, request: web.Request) -> web.Response:
        """Tell the request back."""
        self.heads.append(request)
        answer = web.Response(body=f"{request.method} {request.raw_path} ".encode() + await request.read())
        answer.headers["Keep-Alive"] = "timeout=9"
        answer.set_cookie("a", "1")
        answer.set_cookie("b", "2")
        return answer

    async def digest(self, request: web.Request) -> web.Response:
        """Read a body piece by piece."""
        digest = hashlib.sha256()
        async for piece in request.content.iter_any():
            digest.update(piece)
        return web.Response(text=digest.hexdigest())

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer in two pieces; the second waits for a word."""
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"first")
        await self.go_on.wait()
        await answer.write(b"second")
        return answer

    async def packed(self, request: web.Request) -> web.Response:
        """Answer with a packed body."""
        return web.Response(body=gzip.compress(b"x" * 10_000), headers={"Content-Encoding": "gzip"})

    async def hang(self, request: web.Request) -> web.Response:
        """Never answer, and notice when the caller has gone."""
        self.entered.set()
        self.hanging += 1
        while request.transport is not None and not request.transport.is_closing():
            await asyncio.sleep(0.01)
        self.left.set()
        return web.Response()

    async def half(self, request: web.Request) -> web.StreamResponse:
        """Break off in the middle of an answer."""
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"half")
        request.transport.abort()
        return answer

    async def missing(self, request: web.Request) -> web.Response:
        """The pack's own 404."""
        return web.json_response({"pack": "has none"}, status=404)

    async def closed(self, request: web.Request) -> web.Response:
        """Refuse."""
        return web.Response(status=403)

    async def ws(self, request: web.Request) -> web.WebSocketResponse:
        """Echo messages; end with a code of its own at the word `end`."""
        socket = web.WebSocketResponse(protocols=["pack.v2"])
        await socket.prepare(request)
        async for message in socket:
            if message.data == "end":
                await socket.close(code=4321)
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(f"heard {message.data}")
            else:
                await socket.send_bytes(message.data[::-1])
        self.left.set()
        return socket


@web.middleware
async def mark_unknown(request, handler):
    """Tell the front which addresses no pack knows."""
    if request.match_info.http_exception is not None:
        return web.Response(status=404, headers={"Weft-No-Route": "1"})
    return await handler(request)


@pytest.fixture
async def packs() -> AsyncIterator[PackWeb]:
    """The packs' routes on a Unix socket."""
    made = PackWeb()
    runner = web.AppRunner(made.app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        made.address = f"unix:{folder}/packs.sock"
        await web.UnixSite(runner, f"{folder}/packs.sock").start()
        async with asyncio.timeout(4 * PATIENCE_S):
            yield made
        await runner.cleanup()


def ready_with(ready_message, **packs: object):
    return msgspec.structs.replace(ready_message, packs=Packs(**packs))


@pytest.fixture
async def site(make_stand, ready_message, packs):
    """A front whose worker serves these routes."""
    stand = await make_stand(ready=False)
    stand.engine.tell(ready_with(ready_message, address=packs.address))
    await stand.front.packs.arrived(PATIENCE_S)
    return stand


async def test_request_comes_through_as_it_was(site):
    path = "/pack/echo/a%2Fb%20c;x=%41?q=%20&q=%2B"
    url = URL(f"http://127.0.0.1:{site.client.port}{path}", encoded=True)
    async with aiohttp.ClientSession() as session, session.put(url, data=b"body") as answer:
        assert await answer.text() == f"PUT {path} body"


async def test_headers_of_the_connection_stay_where_they_are(site, packs):
    headers = {"Connection": "keep-alive, X-Hop", "X-Hop": "1", "X-End": "2", "Host": "weft.example:80"}
    answer = await site.get("/pack/echo/", headers=headers)
    (head,) = packs.heads
    seen = (head.headers.get("X-Hop"), head.headers.get("X-End"), head.host, head.headers["X-Forwarded-For"])
    assert seen == (None, "2", "weft.example:80", "127.0.0.1")
    assert "Keep-Alive" not in answer.headers


async def test_every_cookie_is_passed_on(site):
    answer = await site.get("/pack/echo/")
    assert len(answer.headers.getall("Set-Cookie")) == 2


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_any_method_reaches_the_pack(site, method):
    async with site.client.request(method, "/pack/echo/x") as answer:
        assert (await answer.text()).startswith(f"{method} /pack/echo/x")


async def test_head_has_the_length_and_no_body(site):
    answer = await site.client.head("/pack/echo/x")
    assert (answer.status, int(answer.headers["Content-Length"]) > 0, await answer.read()) == (200, True, b"")


async def test_large_body_streams_up(make_stand, ready_message, packs):
    stand = await make_stand(ready=False, max_upload_mb=0.01)
    stand.engine.tell(ready_with(ready_message, address=packs.address))
    await stand.front.packs.arrived(PATIENCE_S)
    piece, count = bytes(range(256)) * 256, 64

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield piece

    answer = await stand.post("/pack/digest", data=pieces())
    assert await answer.text() == hashlib.sha256(piece * count).hexdigest()


async def test_packed_body_arrives_unpacked_and_whole(site):
    body = b"x" * 10_000
    answer = await site.post("/pack/digest", data=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert await answer.text() == hashlib.sha256(body).hexdigest()


async def test_answer_streams_down_as_it_comes(site, packs):
    async with site.get("/pack/stream") as answer:
        first = await answer.content.readexactly(5)
        packs.go_on.set()
        assert (first, await answer.read()) == (b"first", b"second")


async def test_routes_that_hang_hold_up_nobody(site, packs):
    url = f"http://127.0.0.1:{site.client.port}/pack/hang"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        hanging = [asyncio.ensure_future(session.get(url)) for _ in range(120)]
        while packs.hanging < len(hanging):
            await asyncio.sleep(0.01)
        statuses = [(await site.get(path)).status for path in ("/pack/echo/", "/queue")]
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    assert statuses == [200, 200]


async def test_client_that_goes_away_is_gone_for_the_pack_too(site, packs):
    task = asyncio.ensure_future(site.get("/pack/hang"))
    await packs.entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(packs.left.wait(), PATIENCE_S)


async def test_half_an_answer_does_not_look_whole(site):
    with pytest.raises(aiohttp.ClientPayloadError):
        await (await site.get("/pack/half")).read()


async def test_pack_speaks_for_itself_about_what_it_lacks(site):
    answer = await site.get("/pack/missing")
    assert (answer.status, await answer.json()) == (404, {"pack": "has none"})


@pytest.mark.parametrize(("method", "status", "text"), [("GET", 404, "404: Not Found"), ("POST", 405, None)])
async def test_address_that_no_pack_knows_is_answered_as_without_packs(site, method, status, text):
    async with site.client.request(method, "/nobody/knows") as answer:
        assert answer.status == status
        assert "Weft-No-Route" not in answer.headers
        assert text is None or await answer.text() == text


async def test_pack_cannot_take_the_place_of_a_core_route(site):
    assert "queue_running" in await (await site.get("/queue")).json()


async def test_page_of_another_site_does_not_reach_a_pack(site, packs):
    answer = await site.post("/pack/echo/", headers={"Origin": "http://evil.example"})
    assert (answer.status, packs.heads) == (403, [])


async def test_answers_of_packs_carry_the_cors_headers(make_stand, ready_message, packs):
    stand = await make_stand(ready=False, cors_origin="http://page.example")
    stand.engine.tell(ready_with(ready_message, address=packs.address))
    await stand.front.packs.arrived(PATIENCE_S)
    answer = await stand.get("/pack/echo/")
    assert answer.headers.getall("Access-Control-Allow-Origin") == ["http://page.example"]


# ---------------------------------------------------------------- websockets


async def test_websocket_is_joined_both_ways(site):
    async with site.client.ws_connect("/pack/ws", protocols=["other", "pack.v2"]) as socket:
        await socket.send_str("you")
        await socket.send_bytes(b"abc")
        heard = [(await socket.receive()).data for _ in range(2)]
        assert (socket.protocol, heard) == ("pack.v2", ["heard you", b"cba"])


async def test_websocket_ends_with_the_code_of_the_pack(site):
    async with site.client.ws_connect("/pack/ws") as socket:
        await socket.send_str("end")
        message = await socket.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 4321)


async def test_pack_notices_the_end_of_a_websocket(site, packs):
    async with site.client.ws_connect("/pack/ws"):
        pass
    await asyncio.wait_for(packs.left.wait(), PATIENCE_S)


@pytest.mark.parametrize(("path", "status"), [("/pack/closed", 403), ("/nobody/knows", 404)])
async def test_websocket_that_is_refused(site, path, status):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await site.client.ws_connect(path)
    assert refusal.value.status == status


# ---------------------------------------------------------------- workers that are not there


async def test_worker_that_ended_is_said_so(site):
    site.engine.state = "dead"
    site.engine.tell(WorkerLost("killed"))
    while site.front.packs.is_live:
        await asyncio.sleep(0)
    answer = await site.get("/pack/echo/")
    assert (answer.status, "ended" in (await answer.json())["error"]["message"]) == (503, True)
    assert "Retry-After" in answer.headers


async def test_socket_that_nobody_listens_on_is_a_worker_that_ended(make_stand, ready_message, tmp_path):
    stand = await make_stand(ready=False)
    stand.engine.tell(ready_with(ready_message, address=f"unix:{tmp_path}/none.sock"))
    await stand.front.packs.arrived(PATIENCE_S)
    assert (await stand.post("/pack/echo/")).status == 503


async def test_request_waits_for_a_worker_that_starts_with_packs(make_stand, ready_message, packs):
    stand = await make_stand(ready=False, startup_wait_s=PATIENCE_S)
    (stand.base / "custom_nodes" / "pack").mkdir()
    asking = asyncio.ensure_future(stand.get("/pack/echo/"))
    await asyncio.sleep(0)
    stand.engine.tell(ready_with(ready_message, address=packs.address))
    assert (await asking).status == 200


async def test_request_waits_a_bounded_time(make_stand):
    stand = await make_stand(ready=False)
    (stand.base / "custom_nodes" / "pack.py").touch()
    assert (await stand.get("/pack/echo/")).status == 503


@pytest.mark.parametrize("path", ["/nobody/knows", "/user.css"])
async def test_without_packs_nothing_waits_for_a_worker(make_stand, path):
    stand = await make_stand(ready=False, startup_wait_s=60)
    if path == "/user.css":
        (stand.base / "custom_nodes" / "pack").mkdir()
    async with asyncio.timeout(PATIENCE_S):
        assert (await stand.get(path)).status == 404


async def test_new_worker_has_a_new_address(site, packs, ready_message):
    assert (await site.get("/pack/echo/")).status == 200
    site.engine.tell(WorkerLost("killed"))
    link = Path(packs.address.removeprefix("unix:")).with_name("new.sock")
    link.symlink_to(packs.address.removeprefix("unix:"))
    site.engine.tell(ready_with(ready_message, address=f"unix:{link}"))
    while site.front.packs.told.address != f"unix:{link}":
        await asyncio.sleep(0)
    assert (await site.get("/pack/echo/")).status == 200


async def test_worker_on_a_port_gets_its_token(make_stand, ready_message):
    packs = PackWeb()
    runner = web.AppRunner(packs.app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand = await make_stand(ready=False)
    stand.engine.tell(ready_with(ready_message, address=f"tcp:127.0.0.1:{runner.addresses[0][1]}/secret"))
    await stand.front.packs.arrived(PATIENCE_S)
    await stand.get("/pack/echo/", headers={"Weft-Token": "forged"})
    (head,) = packs.heads
    assert head.headers.getall("Weft-Token") == ["secret"]
    await runner.cleanup()


async def test_packed_answer_stays_packed(site):
    url = f"http://127.0.0.1:{site.client.port}/pack/packed"
    async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(url) as answer:
        body = await answer.read()
    assert (answer.headers["Content-Encoding"], gzip.decompress(body)) == ("gzip", b"x" * 10_000)


async def test_client_may_ask_first_whether_to_send_a_body(site):
    async with site.client.request("POST", "/pack/digest", data=b"x", expect100=True) as answer:
        assert await answer.text() == hashlib.sha256(b"x").hexdigest()
