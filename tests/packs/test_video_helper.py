"""Weft's VHS nodes on a real server: what clients find in the history and fetch, and the pack whose nodes they are."""

from __future__ import annotations

from io import BytesIO

import aiohttp
import av
import pytest
from PIL import Image

from tests.packs.client import node

COMBINE = {"frame_rate": 6, "loop_count": 0, "pingpong": False, "save_output": True}


def combining(name, **widgets):
    inputs = {"images": ["1", 0], "filename_prefix": "vhs/clip", "format": name, **COMBINE, **widgets}
    return {"1": node("V3Picture", batch=5), "2": node("VHS_VideoCombine", **inputs)}


async def fetched(client, file, **headers):
    query = {key: file[key] for key in ("filename", "subfolder", "type")}
    async with client.session.get("/view", params=query, headers=headers) as response:
        return response.status, response.headers["Content-Type"], await response.read()


async def test_gif_stands_in_the_history_and_is_shown(client):
    ran = await client.run(combining("image/gif"))
    assert ran.ok, ran.error
    (file,) = ran.outputs["2"]["gifs"]
    assert (file["format"], file["frame_rate"], file["subfolder"]) == ("image/gif", 6.0, "vhs")
    status, kind, body = await fetched(client, file)
    assert (status, kind) == (200, "image/gif")
    with Image.open(BytesIO(body)) as picture:
        assert (picture.size, picture.info["loop"]) == ((16, 8), 0)
    status, kind, _ = await fetched(client, {**file, "filename": file["workflow"]})
    assert (status, kind) == (200, "image/png")


async def test_mp4_stands_in_the_history_and_is_sought(client):
    ran = await client.run(combining("video/h264-mp4", pix_fmt="yuv420p", crf=30), extra_data={"extra_pnginfo": {}})
    assert ran.ok, ran.error
    (file,) = ran.outputs["2"]["gifs"]
    status, kind, body = await fetched(client, file)
    assert (status, kind) == (200, "video/mp4")
    with av.open(BytesIO(body)) as container:
        assert len(list(container.decode(video=0))) == 5
        assert "VHS_VideoCombine" in container.metadata["prompt"]
    status, _, part = await fetched(client, file, Range="bytes=4-7")
    assert (status, part) == (206, b"ftyp")


async def test_each_frame_is_a_step_of_progress(client):
    ran = await client.run(combining("image/webp"))
    assert [(step["value"], step["max"]) for step in ran.of("progress")] == [(number, 5) for number in range(1, 6)]


async def test_widget_of_no_sense_ends_in_words(client):
    ran = await client.run(combining("video/h264-mp4", pix_fmt="yuv"))
    assert "input 'pix_fmt': 'yuv' is none of its choices" in ran.error["exception_message"]


@pytest.mark.parametrize("change", [{"format": "video/h265"}, {"loop_count": 101}])
async def test_declared_inputs_are_checked_before(client, change):
    status, answer = await client.submit(combining("image/gif", **change))
    assert status == 400
    assert answer["node_errors"]["2"]["class_type"] == "VHS_VideoCombine"


async def test_installed_pack_has_its_own_nodes(client):
    entry = (await client.get("/object_info/VHS_VideoInfoLoaded"))["VHS_VideoInfoLoaded"]
    assert (entry["category"], list(entry["input"]["required"])) == ("theirs", ["video_info", "only_here"])
    assert (await client.get("/object_info/VHS_VideoCombine"))["VHS_VideoCombine"]["output_node"] is True


async def test_video_is_uploaded_loaded_and_combined_again(client):
    (first,) = (await client.run(combining("video/webm"))).outputs["2"]["gifs"]
    form = aiohttp.FormData()
    form.add_field("image", (await fetched(client, first))[2], filename="loop.webm")
    async with client.session.post("/upload/image", data=form) as response:
        name = (await response.json())["name"]
    load = {"force_rate": 0, "custom_width": 0, "custom_height": 0, "frame_load_cap": 3, "skip_first_frames": 1}
    ran = await client.run({
        "1": node("VHS_LoadVideo", video=name, select_every_nth=1, **load),
        "2": node("VHS_SplitImages", images=["1", 0], split_index=1),
        "3": node("VHS_VideoCombine", images=["2", 2], filename_prefix="vhs/rest", format="image/gif", **COMBINE),
        "4": node("PreviewAny", source=["2", 3]),
    })  # fmt: skip
    assert ran.ok, ran.error
    assert ran.outputs["4"]["text"] == ["2"]
    assert ran.outputs["3"]["gifs"][0]["format"] == "image/gif"


async def test_folders_of_pictures_are_listed_as_they_come(client, packs_base):
    folder = packs_base / "input" / "walk"
    folder.mkdir()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(folder / "1.png")
    listed = (await client.get("/object_info/VHS_LoadImages"))["VHS_LoadImages"]["input"]["required"]["directory"][0]
    assert "walk" in listed
    ran = await client.run({"1": node("VHS_LoadImages", directory="walk"), "2": node("PreviewAny", source=["1", 2])})
    assert ran.ok, ran.error
    assert ran.outputs["2"]["text"] == ["1"]
