"""/userdata and /v2/userdata."""

from __future__ import annotations

import pytest


async def put(stand, name, body=b"x", query=""):
    answer = await stand.client.request("POST", f"/userdata/{name}{query}", data=body)
    return answer.status, await (answer.json() if answer.status == 200 else answer.text())


async def test_store_and_read(stand):
    assert await put(stand, "a.txt", b"one") == (200, "a.txt")
    answer = await stand.get("/api/userdata/a.txt")
    assert (answer.headers["Content-Type"], await answer.text()) == ("text/plain", "one")


async def test_encoded_slashes_make_folders(stand):
    assert await put(stand, "w%2Fa%20b%2F%C3%A4.json") == (200, "w/a b/ä.json")
    assert (stand.base / "user" / "default" / "w" / "a b" / "ä.json").is_file()


async def test_overwrite_is_the_default(stand):
    await put(stand, "a.txt", b"one")
    assert await put(stand, "a.txt", b"two", "?overwrite=false") == (409, "File already exists")
    assert await put(stand, "a.txt", b"two") == (200, "a.txt")


async def test_full_info(stand):
    _, told = await put(stand, "s%2Fa.txt", b"four", "?full_info=true")
    assert (told["path"], told["size"]) == ("s/a.txt", 4)
    assert {type(told["modified"]), type(told["created"])} == {float}


async def test_delete(stand):
    await put(stand, "a.txt")
    assert (await stand.client.delete("/userdata/a.txt")).status == 204
    assert (await stand.client.delete("/userdata/a.txt")).status == 404


async def test_move(stand):
    await put(stand, "a.txt", b"A")
    answer = await stand.post("/userdata/a.txt/move/n%2Fb.txt")
    assert await answer.json() == "n/b.txt"
    assert (await stand.get("/userdata/a.txt")).status == 404
    assert await (await stand.get("/userdata/n%2Fb.txt")).text() == "A"


async def test_move_may_protect_its_target(stand):
    await put(stand, "a.txt")
    await put(stand, "b.txt")
    answer = await stand.post("/userdata/a.txt/move/b.txt?overwrite=false")
    assert (answer.status, await answer.text()) == (409, "File already exists")


async def test_move_of_a_missing_file_is_404(stand):
    assert (await stand.post("/userdata/a.txt/move/b.txt")).status == 404


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_paths_stay_inside(stand, method):
    answer = await stand.client.request(method, "/userdata/..%2F..%2Fx")
    assert answer.status == 403


async def test_folder_in_the_way_is_refused(stand):
    await put(stand, "s%2Fa.txt")
    assert (await put(stand, "s"))[0] == 400
    assert (await put(stand, "s%2Fa.txt%2Fb"))[0] == 400


async def listing(stand, query):
    return await (await stand.get(f"/userdata?{query}")).json()


async def test_listings(stand):
    await put(stand, "d%2Fa.json")
    await put(stand, "d%2Fs%2Fb.json")
    assert await listing(stand, "dir=d") == ["a.json"]
    assert await listing(stand, "dir=d%2F&recurse=true") == ["a.json", "s/b.json"]
    assert await listing(stand, "dir=d&recurse=true&split=true") == [["a.json", "a.json"], ["s/b.json", "s", "b.json"]]
    full = await listing(stand, "dir=d&recurse=true&split=true&full_info=true")
    assert [entry["path"] for entry in full] == ["a.json", "s/b.json"]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("", 400, "Directory not provided"),
        ("dir=..%2F..", 403, "Invalid directory"),
        ("dir=none", 404, "Directory not found"),
    ],
)
async def test_listing_of_what_is_no_folder(stand, query, status, text):
    answer = await stand.get(f"/userdata?{query}")
    assert (answer.status, await answer.text()) == (status, text)


async def test_v2_lists_folders_first(stand):
    await put(stand, "d%2Fz.txt", b"zz")
    await put(stand, "d%2Fs%2Fa.txt")
    shown = await (await stand.get("/v2/userdata?path=d")).json()
    assert [(entry["path"], entry["type"], entry.get("size")) for entry in shown] == [
        ("d/s", "directory", None),
        ("d/s/a.txt", "file", 1),
        ("d/z.txt", "file", 2),
    ]


async def test_v2_of_a_new_user_is_empty(stand):
    assert await (await stand.get("/v2/userdata")).json() == []


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("none", 404, "Requested path not found"),
        ("..%2F..", 400, "Invalid path requested"),
        ("a.txt", 400, "Requested path is not a directory"),
    ],
)
async def test_v2_of_what_is_no_folder(stand, path, status, text):
    await put(stand, "a.txt")
    answer = await stand.get(f"/v2/userdata?path={path}")
    assert (answer.status, await answer.text()) == (status, text)


async def test_cache_headers_go_by_the_ending(stand):
    await put(stand, "a.png")
    assert (await stand.get("/userdata/a.png")).headers["Cache-Control"] == "public, max-age=86400"
    assert (await stand.get("/userdata/none.png")).headers["Cache-Control"] == "public, max-age=3600"
    assert "Cache-Control" not in (await stand.get("/userdata/none.txt")).headers


@pytest.mark.parametrize(("name", "kind"), [("a.html", "application/octet-stream"), ("user.css", "text/css")])
async def test_only_the_style_sheet_may_act_in_the_page(stand, name, kind):
    await put(stand, name)
    answer = await stand.get(f"/userdata/{name}")
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
