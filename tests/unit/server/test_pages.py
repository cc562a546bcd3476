"""The root page, and what packs bring for the front end."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize("path", ["/", "/api/"])
async def test_root_is_an_uncached_page(stand, path):
    answer = await stand.get(path)
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert (answer.headers["Pragma"], answer.headers["Expires"]) == ("no-cache", "0")
    assert "<!doctype html>" in await answer.text()


@pytest.mark.parametrize(
    ("path", "empty"), [("/extensions", []), ("/workflow_templates", {}), ("/i18n", {}), ("/embeddings", [])]
)
async def test_lists_are_empty_without_packs(stand, path, empty):
    assert await (await stand.get(path)).json() == empty


async def test_example_workflows_of_packs(stand):
    folder = stand.base / "custom_nodes" / "pack" / "example_workflows"
    folder.mkdir(parents=True)
    (folder / "first.json").write_text("{}")
    assert await (await stand.get("/workflow_templates")).json() == {"pack": ["first"]}


async def test_translations_of_packs_are_merged(stand):
    for pack, name, texts in (("a", "main.json", {"x": 1}), ("b", "nodeDefs.json", {"N": 2})):
        folder = stand.base / "custom_nodes" / pack / "locales" / "de"
        folder.mkdir(parents=True)
        (folder / name).write_text(json.dumps(texts))
    assert await (await stand.get("/i18n")).json() == {"de": {"x": 1, "nodeDefs": {"N": 2}}}
