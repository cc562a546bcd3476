"""GET and POST /history."""

from __future__ import annotations

import pytest


@pytest.fixture
async def three(stand):
    for name in "abc":
        await stand.submit(prompt_id=name)
        await stand.engine.succeed({"2": {"images": [name]}})
        await stand.idle()
    return stand


async def keys(stand, query=""):
    return list(await (await stand.get(f"/history{query}")).json())


async def test_entry_shows_prompt_outputs_status_and_meta(three, graph):
    body = await (await three.get("/history/b")).json()
    assert body["b"]["prompt"] == [1, "b", graph, {}, ["2"]]
    assert body["b"]["outputs"] == {"2": {"images": ["b"]}}
    assert body["b"]["status"]["status_str"] == "success"
    assert body["b"]["status"]["completed"] is True
    assert body["b"]["meta"] == {}


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", "abc"),
        ("?max_items=2", "bc"),
        ("?max_items=2&offset=-1", "bc"),
        ("?max_items=1&offset=0", "a"),
        ("?offset=1", "bc"),
        ("?max_items=1&offset=1", "b"),
        ("?max_items=50", "abc"),
        ("?offset=9", ""),
        ("?max_items=0", ""),
        ("?max_items=", "abc"),
    ],
)
async def test_window(three, query, shown):
    assert await keys(three, query) == list(shown)


@pytest.mark.parametrize("query", ["?max_items=x", "?offset=1.5"])
async def test_window_must_be_whole_numbers(stand, query):
    assert (await stand.get(f"/history{query}")).status == 400


async def test_unknown_id_is_an_empty_object(stand):
    answer = await stand.get("/api/history/unknown")
    assert (answer.status, await answer.json()) == (200, {})


async def test_delete_forgets_entries(three):
    answer = await three.post("/history", json={"delete": ["a", "unknown"]})
    assert (answer.status, await answer.text()) == (200, "")
    assert await keys(three) == ["b", "c"]


async def test_clear_forgets_everything(three):
    await three.post("/history", json={"clear": True})
    assert await keys(three) == []


async def test_clear_must_be_true(three):
    await three.post("/history", json={"clear": False})
    assert len(await keys(three)) == 3


async def test_unreadable_request_is_refused(stand):
    assert (await stand.post("/history", data="x")).status == 400
