"""Routes of packs on a private socket, spoken to as the front does."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import test_utils, web

from executor.worker.line import Line
from executor.worker.packweb import _answer_for, serve_routes


class Control:
    """What the packs' loop needs of a worker's control."""

    def exit(self, error: SystemExit) -> None:
        raise error


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(Control(), worker="worker-0", run_folder=tmp_path)
    yield line
    line.close()


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"body": (await request.read()).decode(), "thread": threading.current_thread().name})


async def broken(request: web.Request) -> web.Response:
    raise KeyError("lost")


async def refused(request: web.Request) -> web.Response:
    raise web.HTTPConflict(text="no coffee")


@pytest.fixture
def app() -> web.Application:
    app = web.Application()
    app.add_routes([web.post("/hello", hello), web.get("/broken", broken), web.get("/refused", refused)])
    return app


async def ask(address: str, method: str, path: str, **options: object) -> tuple[int, str, str | None]:
    """Status, text and mark of an answer."""
    connector = aiohttp.UnixConnector(address.removeprefix("unix:"))
    async with (
        aiohttp.ClientSession("http://pack", connector=connector) as session,
        session.request(method, path, **options) as response,
    ):
        return response.status, await response.text(), response.headers.get("Weft-No-Route")


async def test_route_answers_on_the_packs_own_thread(line: Line, app: web.Application):
    address = await asyncio.to_thread(serve_routes, app, line)
    status, text, mark = await ask(address, "POST", "/hello", data=b"hi")
    assert (status, json.loads(text), mark) == (200, {"body": "hi", "thread": "weft-packs"}, None)


async def test_route_that_raises_is_a_500_with_its_reason(line: Line, app: web.Application):
    address = await asyncio.to_thread(serve_routes, app, line)
    status, text, mark = await ask(address, "GET", "/broken")
    assert (status, json.loads(text)["error"]["message"], mark) == (500, "KeyError: 'lost'", None)


async def test_refusal_of_a_route_is_its_own(line: Line, app: web.Application):
    address = await asyncio.to_thread(serve_routes, app, line)
    assert await ask(address, "GET", "/refused") == (409, "no coffee", None)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/absent", 404), ("GET", "/hello", 405)])
async def test_path_that_no_pack_has_is_marked(line: Line, app: web.Application, method: str, path: str, status: int):
    address = await asyncio.to_thread(serve_routes, app, line)
    assert await ask(address, method, path) == (status, "", "1")


async def test_socket_lies_in_the_run_folder(line: Line, app: web.Application, tmp_path: Path):
    address = await asyncio.to_thread(serve_routes, app, line)
    assert Path(address.removeprefix("unix:")).parent == tmp_path


async def test_folder_of_its_own_goes_with_the_worker(line: Line, app: web.Application):
    line.run_folder = None
    address = await asyncio.to_thread(serve_routes, app, line)
    folder = Path(address.removeprefix("unix:")).parent
    assert folder.is_dir()
    await asyncio.to_thread(line.close)
    assert not folder.exists()


async def test_application_that_cannot_start_says_why(line: Line, app: web.Application):
    async def fail(app: web.Application) -> None:
        raise ValueError("no licence")

    app.on_startup.append(fail)
    with pytest.raises(ValueError, match="no licence"):
        await asyncio.to_thread(serve_routes, app, line)


@pytest.mark.parametrize(("given", "status"), [("secret", 200), ("other", 403), (None, 403)])
async def test_caller_without_the_token_is_refused(given: str | None, status: int):
    """As on systems without sockets in the file system."""
    app = web.Application(middlewares=[_answer_for("secret")])
    app.router.add_post("/hello", hello)
    headers = {} if given is None else {"Weft-Token": given}
    async with (
        test_utils.TestClient(test_utils.TestServer(app)) as client,
        client.post("/hello", headers=headers) as response,
    ):
        assert response.status == status
