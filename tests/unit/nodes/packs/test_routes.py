"""The routes of packs: which are noted, and which the application serves."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from executor.settings import Settings
from nodes.packs.routes import RouteBook
from nodes.prompt_server import PromptServer


@pytest.fixture
def server(tmp_path: Path) -> PromptServer:
    return PromptServer(line=object(), settings=Settings(), user_folder=tmp_path)


async def answer(request: web.Request) -> web.Response:
    return web.Response(text=request.path)


def test_rows_of_the_table_are_noted(server: PromptServer):
    book = RouteBook(server)
    server.routes.get("/a/{x:.+}")(answer)
    assert book.new() == ["GET /a/{x:.+}"]


def test_each_is_noted_once(server: PromptServer):
    book = RouteBook(server)
    server.routes.get("/a")(answer)
    book.new()
    server.routes.post("/b")(answer)
    assert book.new() == ["POST /b"]


def test_routes_past_the_table_are_noted(server: PromptServer):
    book = RouteBook(server)
    server.app.router.add_get("/past", answer)
    assert book.new() == ["GET /past"]


def test_static_folders_are_noted(server: PromptServer, tmp_path: Path):
    book = RouteBook(server)
    server.routes.static("/files", tmp_path)
    assert book.new() == ["GET /files/"]


def test_without_routes_there_is_no_application(server: PromptServer):
    assert RouteBook(server).finished() is None


@pytest.mark.parametrize("path", ["/a", "/api/a"])
async def test_rows_answer_at_both_places(server: PromptServer, path: str):
    book = RouteBook(server)
    server.routes.get("/a")(answer)
    async with TestClient(TestServer(book.finished())) as client, client.get(path) as response:
        assert (response.status, await response.text()) == (200, path)


def test_route_that_is_taken_is_left_out_and_told(server: PromptServer, caplog: pytest.LogCaptureFixture):
    book = RouteBook(server)
    server.routes.get("/a")(answer)
    server.routes.get("/a")(answer)
    server.routes.get("/b")(answer)
    paths = {route.resource.canonical for route in book.finished().router.routes()}
    assert paths == {"/a", "/api/a", "/b", "/api/b"}
    assert "left out" in caplog.text


async def test_start_that_fails_costs_no_routes(server: PromptServer, caplog: pytest.LogCaptureFixture):
    async def fail(app: web.Application) -> None:
        raise ValueError("no licence")

    book = RouteBook(server)
    server.routes.get("/a")(answer)
    server.app.on_startup.append(fail)
    async with TestClient(TestServer(book.finished())) as client, client.get("/a") as response:
        assert response.status == 200
    assert "no licence" in caplog.text


async def test_start_alone_is_reason_enough(server: PromptServer):
    started: list[web.Application] = []

    async def start(app: web.Application) -> None:
        started.append(app)

    book = RouteBook(server)
    server.app.on_startup.append(start)
    async with TestClient(TestServer(book.finished())):
        assert started == [server.app]
