"""/api/assets and /api/tags: switched off, and not flagged."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("path", ["/api/assets", "/api/assets/3f", "/api/tags"])
async def test_the_answer_is_that_of_a_store_that_is_off(stand, path):
    answer = await stand.get(path)
    assert answer.status == 503
    assert (await answer.json())["error"]["code"] == "SERVICE_DISABLED"


async def test_features_do_not_promise_assets(stand):
    assert "assets" not in await (await stand.get("/features")).json()
