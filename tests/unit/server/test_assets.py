"""/api/assets and /api/tags: switched off, and not flagged."""

from __future__ import annotations

import pytest

ASSET = "6f1c2f0e-7a86-4c43-9a56-0d8a7f3a1c11"
CALLS = [
    ("GET", "/api/assets"),
    ("GET", "/api/assets?include_tags=models&limit=500"),
    ("POST", "/api/assets"),
    ("POST", "/api/assets/from-hash"),
    ("POST", "/api/assets/download"),
    ("GET", f"/api/assets/{ASSET}"),
    ("PUT", f"/api/assets/{ASSET}"),
    ("PATCH", f"/api/assets/{ASSET}"),
    ("DELETE", f"/api/assets/{ASSET}"),
    ("GET", f"/api/assets/{ASSET}/content?disposition=inline"),
    ("POST", f"/api/assets/{ASSET}/tags"),
    ("DELETE", f"/api/assets/{ASSET}/tags"),
    ("GET", "/api/assets/tags/refine"),
    ("POST", "/api/assets/seed"),
    ("GET", "/api/assets/seed/status"),
    ("POST", "/api/assets/seed/cancel"),
    ("POST", "/api/assets/prune"),
    ("GET", "/api/tags"),
    ("GET", "/api/tags?prefix=mod"),
    ("GET", "/api/tags/models"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_the_answer_is_that_of_a_store_that_is_off(stand, method, path):
    answer = await stand.client.request(method, path)
    assert answer.status == 503
    body = await answer.json()
    assert set(body["error"]) == {"code", "message", "details"}
    assert body["error"]["code"] == "SERVICE_DISABLED"


async def test_asking_for_a_hash_is_answered_without_a_body(stand):
    answer = await stand.client.request("HEAD", f"/api/assets/hash/blake3:{'0' * 64}")
    assert (answer.status, await answer.read()) == (503, b"")


async def test_features_do_not_promise_assets(stand):
    assert "assets" not in await (await stand.get("/features")).json()


async def test_any_name_below_is_answered_so(stand):
    assert (await stand.get("/api/assets/a%0Ab")).status == 503
