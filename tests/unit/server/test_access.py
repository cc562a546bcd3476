"""Requests with keys on: who comes in, by what way, and what scopes allow."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from aiohttp import ClientResponse, WSServerHandshakeError

from server.access import COOKIE, needed_scope

ALL, READER, SUBMITTER = "token-of-the-boss--", "token-of-a-reader--", "token-of-a-poster--"
NOBODY = "token-of-nobody----"
KEYS = f"""
[[key]]
name = "boss"
token = "{ALL}"
[[key]]
name = "reader"
token = "{READER}"
scopes = ["read"]
[[key]]
name = "poster"
token = "{SUBMITTER}"
scopes = ["submit"]
"""


@pytest.fixture
async def client(make_stand, tmp_path: Path):
    path = tmp_path / "keys.toml"
    path.write_text(KEYS)
    return (await make_stand(auth_keys=path)).client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(token: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{token}".encode()).decode()}


def session_of(response: ClientResponse) -> str:
    return response.cookies[COOKIE].value


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/health", None),
        ("GET", "/api/health", None),
        ("GET", "/queue", "read"),
        ("HEAD", "/view", "read"),
        ("GET", "/ws", "read"),
        ("GET", "/internal/logs/raw", "manage"),
        ("POST", "/prompt", "submit"),
        ("POST", "/api/prompt", "submit"),
        ("POST", "/api/jobs/1/cancel", "submit"),
        ("POST", "/api/userdata/workflows%2Fa.json", "submit"),
        ("POST", "/history", "manage"),
        ("POST", "/free", "manage"),
        ("DELETE", "/a/route/of/a/pack", "manage"),
    ],
)
def test_each_request_needs_one_scope(method: str, path: str, scope: str | None):
    assert needed_scope(method, path) == scope


async def test_a_key_that_only_reads_calls_no_routes_of_packs(client):
    assert (await client.get("/a/route/of/a/pack", headers=bearer(READER))).status == 403
    assert (await client.get("/a/route/of/a/pack", headers=bearer(ALL))).status == 404


async def test_without_a_key_nothing_is_told(client):
    response = await client.get("/queue")
    assert response.status == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic")
    assert (await response.json())["error"]["type"] == "key_needed"


async def test_whether_the_server_lives_is_told_to_everybody(client):
    assert (await client.get("/health")).status == 200


@pytest.mark.parametrize("headers", [bearer(ALL), basic(ALL), bearer(READER)])
async def test_a_key_that_reads_may_read(client, headers: dict[str, str]):
    assert (await client.get("/queue", headers=headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        bearer(NOBODY),
        basic(NOBODY),
        {"Authorization": "Basic %"},
        bearer(""),
        bearer("é"),
    ],
)
async def test_a_wrong_key_is_no_key(client, headers: dict[str, str]):
    assert (await client.get("/queue", headers=headers)).status == 401


async def test_a_wrong_token_is_not_made_good_by_a_cookie(client):
    session = session_of(await client.get("/queue", headers=basic(ALL)))
    headers = {**bearer(NOBODY), "Cookie": f"{COOKIE}={session}"}
    assert (await client.get("/queue", headers=headers)).status == 401


async def test_a_scope_that_is_missing_is_named(client):
    response = await client.post("/prompt", json={}, headers=bearer(READER))
    assert response.status == 403
    assert "'submit'" in (await response.json())["error"]["message"]
    assert (await client.get("/queue", headers=bearer(SUBMITTER))).status == 403


async def test_a_key_that_submits_may_submit(client, graph):
    response = await client.post("/prompt", json={"prompt": graph}, headers=bearer(SUBMITTER))
    assert response.status == 200


async def test_a_token_in_the_address_opens_pictures_and_websockets(client):
    assert (await client.get("/queue", params={"token": READER})).status == 200
    async with client.ws_connect(f"/ws?token={READER}") as socket:
        assert (await socket.receive_json())["type"] == "status"
    with pytest.raises(WSServerHandshakeError, match="401"):
        await client.ws_connect("/ws")


async def test_the_page_with_a_token_keeps_the_key_and_drops_the_token(client):
    response = await client.get("/", params={"token": ALL, "a": "<b>"})
    cookie = response.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    text = await response.text()
    assert "url=/?a=" in text
    assert "<b>" not in text
    assert ALL not in text + session_of(response)


async def test_a_browser_that_kept_a_key_comes_in_by_its_cookie(client):
    session = session_of(await client.get("/queue", headers=basic(READER)))
    client.session.cookie_jar.clear()
    assert (await client.get("/queue", headers={"Cookie": f"{COOKIE}={session}"})).status == 200
    assert (await client.get("/queue", headers={"Cookie": f"{COOKIE}={session[:-1]}"})).status == 401


async def test_pages_of_other_sites_cannot_use_the_key_of_a_browser(client, graph):
    session = session_of(await client.get("/queue", headers=basic(ALL)))
    headers = {"Cookie": f"{COOKIE}={session}", "Host": "weft.example", "Origin": "https://evil.example"}
    assert (await client.post("/prompt", json={"prompt": graph}, headers=headers)).status == 403
    own = {**headers, "Origin": "https://weft.example"}
    assert (await client.post("/prompt", json={"prompt": graph}, headers=own)).status == 200


async def test_the_null_origin_is_another_site(client, graph):
    headers = {**basic(ALL), "Host": "weft.example", "Origin": "null"}
    assert (await client.post("/prompt", json={"prompt": graph}, headers=headers)).status == 403


async def test_without_keys_in_the_settings_none_is_asked_for(stand):
    assert (await stand.client.get("/queue")).status == 200
