"""The root page, the front end's files, and what packs bring for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from server.staticfile import WHOLE_BYTES
from server.webroot import WebRoot


@pytest.mark.parametrize("path", ["/", "/api/"])
async def test_root_is_an_uncached_page(stand, path):
    answer = await stand.get(path)
    assert answer.headers["Content-Type"] == "text/html"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert (answer.headers["Pragma"], answer.headers["Expires"]) == ("no-cache", "0")
    assert "<!doctype html>" in await answer.text()


async def test_own_page_says_how_to_get_the_interface(stand):
    assert "pip install comfyui-frontend-package" in await (await stand.get("/")).text()


@pytest.fixture
def web_root(tmp_path: Path) -> WebRoot:
    """A small front end with templates and help."""
    files = {
        "pages/index.html": b"<!doctype html><title>front</title>",
        "pages/assets/a.js": b"1",
        "pages/assets/b.mjs": b"2",
        "pages/assets/c.css": b"c{}",
        "pages/assets/d.woff2": b"d",
        "pages/assets/e.png": b"e",
        "pages/assets/large.js": bytes(WHOLE_BYTES + 1),
        "pages/extensions/core/f.js": b"3",
        "templates/index.json": b"[1]",
        "templates/g-1.webp": b"g",
        "docs/KSampler/en.md": b"# help",
        "secret": b"s",
    }
    for name, body in files.items():
        path = tmp_path / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    web = tmp_path / "web"
    return WebRoot(pages=web / "pages", templates=(web / "templates",), documents=web / "docs")


@pytest.fixture
async def site(make_stand, web_root):
    """A front with that front end."""
    return await make_stand(web_root=web_root)


@pytest.mark.parametrize("path", ["/", "/api/", "/index.html"])
async def test_root_is_the_front_end_uncached(site, path):
    answer = await site.get(path)
    assert "<title>front" in await answer.text()
    assert (answer.headers["Cache-Control"], answer.headers["Expires"]) == ("no-cache", "0")


@pytest.mark.parametrize(
    ("path", "kind", "keep"),
    [
        ("/assets/a.js", "text/javascript", "no-cache"),
        ("/assets/b.mjs", "text/javascript", "no-cache"),
        ("/assets/c.css", "text/css", "no-cache"),
        ("/assets/d.woff2", "font/woff2", "no-cache"),
        ("/assets/e.png", "image/png", "public, max-age=86400"),
        ("/assets/large.js", "text/javascript", "no-cache"),
        ("/extensions/core/f.js", "text/javascript", "no-cache"),
        ("/templates/index.json", "application/json", "no-cache"),
        ("/templates/g-1.webp", "image/webp", "public, max-age=86400"),
        ("/docs/KSampler/en.md", "text/markdown", "no-cache"),
    ],
)
async def test_files_have_their_type_and_time_to_live(site, path, kind, keep):
    answer = await site.get(path)
    assert answer.status == 200
    assert (answer.content_type, answer.headers["Cache-Control"]) == (kind, keep)


@pytest.mark.parametrize("path", ["/assets/a.js", "/assets/large.js"])
async def test_a_file_that_the_browser_has_is_not_sent_again(site, path):
    first = await site.get(path)
    for condition, seen in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")):
        again = await site.get(path, headers={condition: first.headers[seen]})
        assert (again.status, await again.read()) == (304, b"")
    changed = await site.get(path, headers={"If-None-Match": '"other"'})
    assert (changed.status, len(await changed.read())) == (200, int(first.headers["Content-Length"]))


@pytest.mark.parametrize(
    "path",
    [
        "/assets/none.js",
        "/..%2Fsecret",
        "/%2e%2e/secret",
        "/templates/..%2Fsecret",
        "/docs/..%2F..%2Fsecret",
        "/assets",
    ],
)
async def test_what_is_no_file_of_the_front_end_is_not_found(site, path):
    answer = await site.get(path)
    assert (answer.status, await answer.text()) == (404, "404: Not Found")


async def test_head_tells_the_size_only(site):
    answer = await site.client.head("/assets/c.css")
    assert (answer.status, answer.headers["Content-Length"], await answer.read()) == (200, "3", b"")


async def test_extension_scripts_of_the_front_end_are_listed(site):
    assert await (await site.get("/extensions")).json() == ["/extensions/core/f.js"]


async def test_files_have_no_api_twin_and_take_no_post(site):
    assert (await site.get("/api/extensions/core/f.js")).status == 404
    assert (await site.post("/assets/a.js")).status == 405


async def test_without_the_package_the_demo_is_the_one_template(stand):
    listed = await (await stand.get("/templates/index.json")).json()
    assert [row["name"] for group in listed for row in group["templates"]] == ["text_to_image"]
    graph = await (await stand.get("/templates/text_to_image.json")).json()
    assert {"CheckpointLoaderSimple", "KSampler", "SaveImage"} <= {node["type"] for node in graph["nodes"]}
    assert (await stand.get("/templates/text_to_image-1.webp")).content_type == "image/webp"
    assert await (await stand.get("/templates/index_logo.json")).json() == {}
    assert (await stand.get("/templates/x.json")).status == 404


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
