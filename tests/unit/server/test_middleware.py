"""Origin check, OPTIONS, CORS, errors, cache headers, compression."""

from __future__ import annotations

import errno
import os

import pytest
from aiohttp import FormData

from executor.settings import is_loopback
from server.middleware import cache_control
from tests.unit.server.conftest import GRAPH


@pytest.mark.parametrize("path", ["/prompt", "/api/upload/image", "/no-such-route"])
async def test_options_is_answered_on_any_path(stand, path):
    answer = await stand.client.options(path)
    assert (answer.status, await answer.text()) == (200, "")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://localhost", 403),
        ("http://127.0.0.1:1", 403),
        ("http://[broken", 403),
        ("http://127.0.0.1", 200),
        ("null", 200),
    ],
)
async def test_origin_on_a_loopback_host(stand, origin, status):
    assert (await stand.get("/queue", headers={"Origin": origin})).status == status


async def test_own_origin_passes(stand):
    origin = f"http://127.0.0.1:{stand.client.port}"
    assert (await stand.get("/queue", headers={"Origin": origin})).status == 200


async def test_origin_is_checked_for_options_too(stand):
    assert (await stand.client.options("/queue", headers={"Origin": "http://evil.example"})).status == 403


async def test_page_without_an_origin_changes_nothing(stand):
    assert (await stand.post("/interrupt", headers={"Origin": "null"})).status == 403


async def test_any_origin_may_look_on_an_address_that_is_no_loopback(stand):
    headers = {"Host": "192.168.1.5", "Origin": "http://other.example"}
    assert (await stand.get("/queue", headers=headers)).status == 200


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("weft.example", False)],
)
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("path", ["/queue", "/no-such-route", "/view"])
async def test_cors_headers_come_with_every_answer(make_stand, path):
    stand = await make_stand(cors_origin="http://page.example")
    answer = await stand.get(path, headers={"Origin": "http://page.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "http://page.example"
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


async def test_cors_replaces_the_origin_check(make_stand):
    stand = await make_stand(cors_origin="*")
    answer = await stand.client.options("/prompt", headers={"Origin": "http://evil.example"})
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/no-such-route", 404),
        ("GET", "/api/no-such-route", 404),
        ("POST", "/no-such-route", 405),
        ("DELETE", "/prompt", 405),
        ("POST", "/system_stats", 405),
        ("PUT", "/api/queue", 405),
        ("GET", "/api/internal/logs", 404),
        ("HEAD", "/queue", 200),
        ("HEAD", "/interrupt", 404),
    ],
)
async def test_unknown_paths_and_wrong_methods(stand, method, path, status):
    async with stand.client.request(method, path) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/weft/run", "POST"),
        ("GET", "/interrupt", "POST"),
        ("GET", "/api/upload/image", "POST"),
        ("GET", "/api/jobs/x/cancel", "POST"),
        ("DELETE", "/prompt", "GET,HEAD,POST"),
        ("PUT", "/upload/image", "POST"),
        ("POST", "/no-such-route", "GET,HEAD"),
        ("POST", "/", "GET,HEAD"),
    ],
)
async def test_a_wrong_method_is_told_those_that_would_do(stand, method, path, allowed):
    async with stand.client.request(method, path) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)


async def test_body_over_the_limit_is_413(make_stand):
    stand = await make_stand(max_upload_mb=0.001)
    answer = await stand.post("/prompt", data=b"x" * 2000)
    assert answer.status == 413
    assert (await answer.text()).startswith("Maximum request body size")


async def test_body_that_is_not_compressed_as_told_is_refused(stand):
    answer = await stand.post("/prompt", data=b"{}", headers={"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert "gzip" in (await answer.json())["error"]["message"]


async def test_error_of_a_route_is_a_json_500(stand, monkeypatch):
    async def fail(body):
        raise LookupError("lost")

    monkeypatch.setattr(type(stand.front.submission), "accept", lambda self, body, key, owner: fail(body))
    answer = await stand.post("/prompt", json={})
    assert answer.status == 500
    assert (await answer.json())["error"]["message"] == "LookupError: lost"


@pytest.mark.parametrize(
    ("path", "status", "value"),
    [
        ("/x/a.js", 200, "no-cache"),
        ("/x/a.css", 404, "no-cache"),
        ("/templates/index.json", 200, "no-cache"),
        ("/templates/index.de.json", 200, "no-cache"),
        ("/templates/other.json", 200, None),
        ("/a.png", 200, "public, max-age=86400"),
        ("/a.PNG", 206, "public, max-age=86400"),
        ("/a.webp", 404, "public, max-age=3600"),
        ("/a.jpg", 302, "no-cache"),
        ("/a.jpg", 304, None),
        ("/queue", 200, None),
    ],
)
def test_cache_control(path, status, value):
    assert cache_control(path, status) == value


async def test_json_is_compressed_when_asked_for(make_stand):
    stand = await make_stand(compress=True)
    answer = await stand.get("/queue", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert await answer.json() == {"queue_running": [], "queue_pending": []}


async def test_nothing_is_compressed_by_default(stand):
    answer = await stand.get("/queue", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG])
async def test_a_disk_that_takes_nothing_is_a_507_with_words(stand, monkeypatch, code):
    def fail(self, upload):
        raise OSError(code, os.strerror(code), "/somewhere/x.png")

    monkeypatch.setattr(type(stand.front.spaces.named("").uploads), "store", fail)
    form = FormData()
    form.add_field("image", b"x", filename="x.png")
    answer = await stand.post("/upload/image", data=form)
    assert answer.status == 507
    assert os.strerror(code) in (await answer.json())["error"]["message"]


async def test_a_database_that_takes_nothing_is_a_507_and_nothing_is_queued(stand):
    refuse = "CREATE TRIGGER full BEFORE INSERT ON queue BEGIN SELECT RAISE(ABORT, 'full'); END"
    await stand.front.store._database.run(lambda connection: connection.execute(refuse) and None)
    answer = await stand.post("/prompt", json={"prompt": GRAPH})
    assert (answer.status, (await answer.json())["error"]["type"]) == (507, "storage")
    await stand.front.store._database.run(lambda connection: connection.execute("DROP TRIGGER full") and None)
    assert stand.front.store.waiting() == stand.front.store.remaining() == 0
    assert (await stand.post("/prompt", json={"prompt": GRAPH})).status == 200
