"""POST /upload/image and /upload/mask."""

from __future__ import annotations

import io
import json

import pytest
from aiohttp import FormData
from PIL import Image


async def told(answer):
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def test_file_of_any_kind_is_stored_as_it_is(stand, upload):
    assert await told(await upload(b"\xff\x00", "a.latent")) == {"name": "a.latent", "subfolder": "", "type": "input"}
    assert (stand.base / "input" / "a.latent").read_bytes() == b"\xff\x00"


async def test_type_and_subfolder_choose_the_place(stand, upload):
    answer = await told(await upload(b"x", "a.png", type="temp", subfolder="s/deep/../t"))
    assert answer == {"name": "a.png", "subfolder": "s/deep/../t", "type": "temp"}
    assert (stand.base / "temp" / "s" / "t" / "a.png").read_bytes() == b"x"


async def test_same_bytes_keep_their_name(stand, upload):
    for _ in range(2):
        assert (await told(await upload(b"x", "a.png")))["name"] == "a.png"
    assert [path.name for path in (stand.base / "input").iterdir()] == ["a.png"]


async def test_other_bytes_get_a_number(upload):
    names = [(await told(await upload(body, "a.b.png")))["name"] for body in (b"1", b"2", b"3", b"2")]
    assert names == ["a.b.png", "a.b (1).png", "a.b (2).png", "a.b (1).png"]


@pytest.mark.parametrize("name", ["a", ".hidden"])
async def test_name_without_ending_gets_its_number_at_the_end(upload, name):
    names = [(await told(await upload(body, name)))["name"] for body in (b"1", b"2")]
    assert names == [name, f"{name} (1)"]


@pytest.mark.parametrize(("overwrite", "name"), [("true", "a.png"), ("1", "a.png"), ("false", "a (1).png")])
async def test_overwrite(upload, overwrite, name):
    await upload(b"1", "a.png")
    assert (await told(await upload(b"2", "a.png", overwrite=overwrite)))["name"] == name


async def test_texts_may_come_as_file_parts(stand):
    form = FormData()
    form.add_field("image", b"x", filename="a.png")
    form.add_field("type", b"temp", filename="blob")
    assert (await told(await stand.post("/upload/image", data=form)))["type"] == "temp"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("../x.png", {}),
        ("x.png", {"subfolder": "../x"}),
        ("x.png", {"subfolder": "/tmp"}),
        ("/tmp/x.png", {}),
        ("missing/x.png", {}),
        ("x.png", {"type": "models"}),
        (".", {}),
        ("x" * 300, {}),
    ],
)
async def test_place_that_cannot_be_is_refused(stand, upload, name, fields):
    answer = await upload(b"x", name, **fields)
    assert answer.status == 400
    assert (await answer.json())["error"]["message"]


async def test_file_in_the_way_of_a_folder_is_refused(upload):
    await upload(b"x", "s")
    assert (await upload(b"x", "a.png", subfolder="s")).status == 400


@pytest.mark.parametrize("data", [{"other": "x"}, {"image": "no file"}, None])
async def test_request_without_a_file_is_refused(stand, data):
    assert (await stand.post("/upload/image", data=data)).status == 400


async def test_json_body_is_refused(stand):
    assert (await stand.post("/upload/image", json={"image": "file:///etc/passwd"})).status == 400


async def test_broken_multipart_body_is_refused(stand):
    headers = {"Content-Type": "multipart/form-data"}
    assert (await stand.post("/upload/image", data=b"x", headers=headers)).status == 400


async def test_form_with_a_broken_field_name_is_refused(stand):
    body = b'--x\r\nContent-Disposition: form-data; name="a\x14"\r\n\r\ntext\r\n--x--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert (await stand.post("/upload/image", data=body, headers=headers)).status == 400


# ---------------------------------------------------------------- masks


def reference(**fields):
    return json.dumps(fields)


async def test_mask_joins_colours_and_alpha(stand, upload, make_png):
    await upload(make_png(color=(10, 20, 30), note="kept"), "o.png")
    ref = reference(filename="o.png", type="input", subfolder="")
    await told(await upload(make_png(color=(0, 0, 0, 77)), "m.png", "/upload/mask", original_ref=ref))
    image = Image.open(io.BytesIO((stand.base / "input" / "m.png").read_bytes()))
    assert image.getpixel((0, 0)) == (10, 20, 30, 77)
    assert image.text == {"note": "kept"}


async def test_original_may_name_its_folder_by_suffix(stand, upload, make_png):
    await upload(make_png(), "o.png", type="temp")
    ref = reference(filename="o.png [temp]")
    await told(await upload(make_png(color=(0, 0, 0, 7)), "m.png", "/upload/mask", original_ref=ref))
    assert (stand.base / "input" / "m.png").is_file()


@pytest.mark.parametrize("name", ["lost.png", "../o.png", "/etc/hostname"])
async def test_mask_of_a_lost_original_is_answered_but_not_stored(stand, upload, make_png, name):
    ref = reference(filename=name, type="input")
    answer = await told(await upload(make_png(), "m.png", "/upload/mask", original_ref=ref))
    assert answer["name"] == "m.png"
    assert not (stand.base / "input" / "m.png").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"original_ref": "{broken"},
        {"original_ref": "[]"},
        {"original_ref": '{"type": "input"}'},
        {"original_ref": '{"filename": "o.png", "type": "models"}'},
    ],
)
async def test_mask_needs_a_readable_reference(upload, make_png, fields):
    assert (await upload(make_png(), "m.png", "/upload/mask", **fields)).status == 400


@pytest.mark.parametrize(("name", "size"), [("m.jpg", (4, 2)), ("m.xyz", (4, 2)), ("m", (4, 2)), ("m.png", (9, 9))])
async def test_mask_that_cannot_be_stored_is_refused(upload, make_png, name, size):
    await upload(make_png(), "o.png")
    ref = reference(filename="o.png", type="input")
    answer = await upload(make_png(size, (0, 0, 0, 7)), name, "/upload/mask", original_ref=ref)
    assert answer.status == 400
