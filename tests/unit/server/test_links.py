"""Symbolic links in the data folders: routes show, list and write what lies within, and nothing outside."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

SECRET = b"secret"


@pytest.fixture
def outside(tmp_path_factory):
    """A folder beside the server's, with a file."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.png").write_bytes(SECRET)
    return folder


def places(stand):
    """Where links are made: a data folder for files, and the user's."""
    return {"input": stand.front.folders.root("input"), "user": stand.base / "user" / "default"}


@pytest.fixture
async def links(stand, outside):
    """In both places: `far.png`, `far` and `lost` lead outside, the last to nothing; `near.png` into output."""
    made = stand.front.folders.root("output") / "made.png"
    made.write_bytes(b"made")
    for folder in places(stand).values():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "far.png").symlink_to(outside / "secret.png")
        (folder / "far").symlink_to(outside)
        (folder / "lost").symlink_to(outside / "not-yet")
        (folder / "near.png").symlink_to(made)
    return stand


def untouched(outside):
    return [path.name for path in outside.iterdir()] == ["secret.png"] and (
        outside / "secret.png"
    ).read_bytes() == SECRET


READS = (
    "/view?type=input&filename=far.png",
    "/view?filename=far.png [input]",
    "/view?type=input&subfolder=far&filename=secret.png",
    "/view?type=input&filename=far.png&preview=webp",
    "/view?type=input&filename=far.png&channel=rgb",
    "/view?type=input&filename=far.png&channel=a",
    "/userdata/far.png",
    "/userdata/far%2Fsecret.png",
    "/userdata?dir=far",
)


@pytest.mark.parametrize("path", READS)
async def test_what_a_link_shows_outside_is_refused(links, path):
    answer = await links.get(path)
    assert answer.status == 403
    assert SECRET not in await answer.read()


async def test_what_a_link_shows_within_is_shown(links):
    for path in ("/view?type=input&filename=near.png", "/userdata/near.png"):
        assert await (await links.get(path)).read() == b"made"


@pytest.mark.parametrize(
    "path", ["/view?type=input&filename=far.png", "/userdata/far.png", "/userdata/far%2Fsecret.png"]
)
async def test_everything_is_shown_where_links_are_to_be_followed(make_stand, outside, path):
    stand = await make_stand(follow_symlinks=True)
    for folder in places(stand).values():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "far.png").symlink_to(outside / "secret.png")
        (folder / "far").symlink_to(outside)
    assert await (await stand.get(path)).read() == SECRET


LISTS = (
    "/internal/files/input",
    "/userdata?dir=.",
    "/userdata?dir=.&recurse=true&split=true",
    "/userdata?dir=.&full_info=true",
    "/v2/userdata",
    "/v2/userdata?path=",
)


@pytest.mark.parametrize("path", LISTS)
async def test_lists_leave_out_what_lies_outside(links, path):
    text = await (await links.get(path)).text()
    assert "near.png" in text
    assert not any(f'"{name}' in text for name in ("far", "lost", "secret"))


@pytest.mark.parametrize("name", ["far.png", "lost", "far/new.png", "far/secret.png"])
@pytest.mark.parametrize("overwrite", ["true", "false"])
async def test_uploads_write_nothing_outside(links, upload, outside, name, overwrite):
    folder, _, bare = name.rpartition("/")
    answer = await upload(b"new", bare, subfolder=folder, overwrite=overwrite)
    assert answer.status == 400
    assert untouched(outside)


async def test_masks_take_no_colours_from_outside(links, upload, make_png, outside):
    (outside / "secret.png").write_bytes(make_png())
    reference = json.dumps({"filename": "far.png", "type": "input", "subfolder": ""})
    answer = await upload(make_png(), "m.png", "/upload/mask", original_ref=reference)
    assert answer.status == 200  # as where the original is missing
    assert not (links.front.folders.root("input") / "m.png").exists()


@pytest.mark.parametrize("name", ["far.png", "lost", "far/new.json"])
async def test_user_files_are_not_written_outside(links, outside, name):
    answer = await links.post(f"/userdata/{quote(name, safe='')}", data=b"new")
    assert answer.status == 403
    assert untouched(outside)


async def test_user_files_are_not_moved_or_deleted_outside(links, outside):
    assert (await links.post("/userdata/near.png/move/far%2Fa.png")).status == 403
    assert (await links.post("/userdata/far%2Fsecret.png/move/a.png")).status == 403
    assert (await links.client.delete("/userdata/far%2Fsecret.png")).status == 403
    assert untouched(outside)


async def test_writing_over_a_link_within_leaves_what_it_led_to(links, upload):
    assert (await upload(b"new", "near.png", overwrite="true")).status == 200
    assert (links.front.folders.root("output") / "made.png").read_bytes() == b"made"
    assert (links.front.folders.root("input") / "near.png").read_bytes() == b"new"


async def test_links_in_model_folders_are_followed(stand, outside):
    header = json.dumps({"__metadata__": {"a": "b"}}).encode()
    (outside / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    folder = stand.base / "models" / "loras"
    folder.mkdir(parents=True)
    (folder / "linked").symlink_to(outside)
    assert "linked/x.safetensors" in await (await stand.get("/models/loras")).json()
    answer = await stand.get("/view_metadata/loras?filename=linked/x.safetensors")
    assert await answer.json() == {"a": "b"}
