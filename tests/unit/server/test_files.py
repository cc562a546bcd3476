"""GET /view and /view_metadata."""

from __future__ import annotations

import gzip
import io
import json
import struct
from urllib.parse import unquote

import pytest
from PIL import Image

from server import media


@pytest.fixture
def put(stand):
    """Put a file into a data folder."""

    def write(name, body, root="output"):
        path = stand.front.folders.root(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return path

    return write


async def picture(answer):
    image = Image.open(io.BytesIO(await answer.read()))
    image.load()
    return image


async def test_shows_the_file_itself(stand, put, make_png):
    put("a.png", make_png())
    answer = await stand.get("/view?filename=a.png")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"] == 'filename="a.png"'
    assert await answer.read() == make_png()


async def test_root_and_subfolder(stand, put):
    put("s/a.txt", b"x", "input")
    answer = await stand.get("/api/view?filename=a.txt&type=input&subfolder=s&rand=0.5")
    assert (answer.headers["Content-Type"], await answer.text()) == ("text/plain", "x")


async def test_suffix_beats_type(stand, put):
    put("a.txt", b"x", "temp")
    answer = await stand.get("/view", params={"filename": "a.txt [temp]", "type": "output"})
    assert await answer.text() == "x"


async def test_only_the_last_part_of_the_name_counts(stand, put):
    put("a.txt", b"x")
    assert (await stand.get("/view?filename=some/where/a.txt")).status == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("?filename=", 400),
        ("?filename=none.png", 404),
        ("?filename=x&type=models", 400),
        ("?filename=../x", 400),
        ("?filename=/etc/hostname", 400),
        ("?filename=a..b", 400),
        ("?filename=x%00", 400),
        ("?filename=x&subfolder=../..", 403),
        ("?filename=x&subfolder=/etc", 403),
        ("?filename=folder/", 404),
        ("?filename=" + "x" * 300, 400),
    ],
)
async def test_what_is_not_shown(stand, query, status):
    assert (await stand.get(f"/view{query}")).status == status


async def test_ranges(stand, put):
    put("a.txt", b"0123456789")
    answer = await stand.get("/view?filename=a.txt", headers={"Range": "bytes=2-5"})
    assert (answer.status, answer.headers["Content-Range"], await answer.text()) == (206, "bytes 2-5/10", "2345")
    assert (await stand.get("/view?filename=a.txt", headers={"Range": "bytes=20-"})).status == 416


async def test_unchanged_file_is_304(stand, put):
    put("a.txt", b"x")
    tag = (await stand.get("/view?filename=a.txt")).headers["ETag"]
    assert (await stand.get("/view?filename=a.txt", headers={"If-None-Match": tag})).status == 304


ACTIVE = (
    *("a.html", "a.htm", "a.HTML", "a.xhtml", "a.xht", "a.js", "a.mjs", "a.css", "a.svg", "a.SVG", "a.svgz", "a.xml"),
    *("a.xsl", "a.xslt", "a.rdf", "a.atom", "a.mht", "a.mhtml", "a.eml", "a.swf", "a.wasm", "a.webmanifest", "a.jar"),
)


@pytest.mark.parametrize("name", ACTIVE)
async def test_what_a_browser_would_run_is_sent_as_bytes(stand, put, name):
    put(name, b"x")
    answer = await stand.get(f"/view?filename={name}")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if media.content_type(name) != media.ANY_BYTES:  # this machine knows the ending
        assert answer.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "name", ["page", "a.html.", "a.html.bak", "a.shtml", "a.png.html.unknown", "data:text%2Fhtml,a.odd", "a.php"]
)
async def test_a_page_under_an_odd_name_is_not_one(stand, put, name):
    put(unquote(name).rpartition("/")[2], b"<script>alert(1)</script>")
    answer = await stand.get(f"/view?filename={name}")
    assert answer.status == 200
    assert not answer.headers["Content-Type"].startswith(("text/html", "application/xhtml"))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.gif", "a.mp4", "a.flac", "a.json", "a.txt", "a.glb", "a.pdf"])
async def test_what_runs_nothing_is_shown(stand, put, name):
    put(name, b"x")
    answer = await stand.get(f"/view?filename={name}")
    assert answer.headers["Content-Disposition"] == f'filename="{name}"'
    assert answer.headers["Content-Type"] != "application/octet-stream"


async def test_names_do_not_leave_their_place_in_the_header(stand, put):
    name = 'a";x="\r\nSet-Cookie: b=c\x7f\udc80.png'
    put(name, b"x")
    answer = await stand.get("/view", params={"filename": name.encode("utf-8", "surrogateescape").decode("latin-1")})
    assert answer.status == 404  # a browser cannot ask for bytes that are no UTF-8
    assert media.file_headers(name)["Content-Disposition"] == 'filename="a_;x=___Set-Cookie: b=c__.png"'


async def test_a_compressed_neighbour_is_not_sent_for_a_file(stand, put, make_png):
    put("a.png", make_png())
    put("a.png.gz", gzip.compress(b"<script>"))
    answer = await stand.get("/view?filename=a.png", headers={"Accept-Encoding": "gzip"})
    assert await answer.read() == make_png()


async def test_svg_is_shown_where_a_page_draws_it_as_a_picture(stand, put):
    put("a.svg", b"<svg/>")
    answer = await stand.get("/view?filename=a.svg", headers={"Sec-Fetch-Dest": "image"})
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert answer.headers["Content-Disposition"] == 'filename="a.svg"'
    assert answer.headers["Vary"] == "Sec-Fetch-Dest"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")


async def test_page_that_is_asked_for_as_a_picture_is_still_bytes(stand, put):
    put("a.html", b"<p>")
    answer = await stand.get("/view?filename=a.html", headers={"Sec-Fetch-Dest": "image"})
    assert answer.headers["Content-Type"] == "application/octet-stream"


async def test_name_cannot_break_the_header(stand, put):
    put('a"b\n.txt', b"x")
    answer = await stand.get("/view", params={"filename": 'a"b\n.txt'})
    assert answer.headers["Content-Disposition"] == 'filename="a_b_.txt"'


@pytest.mark.parametrize(
    ("query", "kind", "mode"),
    [
        ("preview=webp", "WEBP", "RGBA"),
        ("preview=jpeg", "JPEG", "RGB"),
        ("preview=jpeg;50", "JPEG", "RGB"),
        ("preview=jpeg;x", "JPEG", "RGB"),
        ("preview=jpeg&channel=rgba", "WEBP", "RGBA"),
        ("preview=gif;50", "WEBP", "RGBA"),
        ("preview=", "WEBP", "RGBA"),
        ("preview=webp&channel=rgb", "WEBP", "RGB"),
        ("channel=rgb", "PNG", "RGB"),
        ("channel=a", "PNG", "RGBA"),
        ("channel=other", "PNG", "RGBA"),
    ],
)
async def test_other_forms_of_a_picture(stand, put, make_png, query, kind, mode):
    put("a.png", make_png(color=(200, 100, 50, 60)))
    answer = await stand.get(f"/view?filename=a.png&{query}")
    image = await picture(answer)
    assert (image.format, image.mode, image.size) == (kind, mode, (4, 2))
    assert answer.headers["Content-Type"] == f"image/{kind.lower()}"
    assert answer.headers["Content-Disposition"] == 'filename="a.png"'


@pytest.mark.parametrize(("color", "alpha"), [((9, 8, 7), 255), ((9, 8, 7, 60), 60)])
async def test_alpha_alone_is_shown_over_black(stand, put, make_png, color, alpha):
    put("a.png", make_png(color=color))
    image = await picture(await stand.get("/view?filename=a.png&channel=a"))
    assert image.getpixel((0, 0)) == (0, 0, 0, alpha)


@pytest.mark.parametrize("query", ["preview=webp", "channel=rgb", "channel=a"])
async def test_other_forms_need_a_picture(stand, put, query):
    put("a.png", b"no picture")
    answer = await stand.get(f"/view?filename=a.png&{query}")
    assert answer.status == 400
    assert "picture" in (await answer.json())["error"]["message"]


def safetensors(**metadata):
    header = json.dumps({"__metadata__": metadata} if metadata else {}).encode()
    return struct.pack("<Q", len(header)) + header


async def test_metadata_of_a_model_file(stand, put):
    put("checkpoints/m.safetensors", safetensors(title="t"))
    answer = await stand.get("/view_metadata/checkpoints?filename=m.safetensors")
    assert await answer.json() == {"title": "t"}


@pytest.mark.parametrize(
    ("body", "query"),
    [
        (safetensors(), "checkpoints?filename=m.safetensors"),
        (b"", "checkpoints?filename=m.safetensors"),
        (struct.pack("<Q", 1 << 40) + b"{}", "checkpoints?filename=m.safetensors"),
        (struct.pack("<Q", 2) + b"[]", "checkpoints?filename=m.safetensors"),
        (safetensors(a="b"), "checkpoints?filename=m.ckpt"),
        (safetensors(a="b"), "checkpoints"),
        (safetensors(a="b"), "unknown?filename=m.safetensors"),
        (safetensors(a="b"), "loras?filename=../checkpoints/m.safetensors"),
    ],
)
async def test_metadata_that_cannot_be_had_is_404(stand, put, body, query):
    put("checkpoints/m.safetensors", body)
    assert (await stand.get(f"/view_metadata/{query}")).status == 404


@pytest.mark.parametrize(
    "query", ["preview=webp", "preview=jpeg;50", "preview=webp&channel=rgb", "channel=rgb", "channel=a"]
)
async def test_large_pictures_are_shown_by_another_process_in_the_same_way(stand, put, make_png, monkeypatch, query):
    put("a.png", make_png((40, 20), (10, 20, 30, 40)))
    here = await (await stand.get(f"/view?filename=a.png&{query}")).read()
    monkeypatch.setattr(media, "MOST_PIXELS", 1)
    answer = await stand.get(f"/view?filename=a.png&{query}")
    assert answer.status == 200
    assert await answer.read() == here


async def test_a_large_picture_that_is_damaged_is_refused(stand, put, make_png, monkeypatch):
    monkeypatch.setattr(media, "MOST_PIXELS", 1)
    put("a.png", make_png((400, 200))[:-40])
    answer = await stand.get("/view?filename=a.png&preview=webp")
    assert answer.status == 400
    assert "not a picture that can be read" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize("wish", ["webp;" + "9" * 5000, "jpeg;٣", "webp;-1", ";;;", "\0"])
async def test_odd_wishes_mean_a_picture_all_the_same(stand, put, make_png, wish):
    put("a.png", make_png())
    assert (await stand.get("/view", params={"filename": "a.png", "preview": wish})).status == 200
