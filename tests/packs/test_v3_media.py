"""Moving pictures and sound through comfy_api, on a real server."""

from __future__ import annotations

import pytest

from tests.packs.client import node

VIDEO = {
    "1": node("V3Picture", batch=5),
    "2": node("V3MakeVideo", images=["1", 0], fps=10.0),
    "3": node("V3SaveVideo", video=["2", 0], format="mp4"),
}


async def test_video_is_written_and_read_back(client, packs_base):
    ran = await client.run(VIDEO)
    assert ran.ok, ran.error
    shown = ran.outputs["3"]
    assert shown["told"] == [
        {
            "size": [16, 8], "frames": [5, 5, 5], "rate": "10", "seconds": [0.5, 0.5], "sound": None,
            "metadata": {"a": 1}, "format": True,
        }
    ]  # fmt: skip
    (file,) = shown["images"]
    assert shown["animated"] == [True]
    assert (packs_base / "output" / file["subfolder"] / file["filename"]).is_file()


async def test_video_keeps_its_sound(client):
    prompt = {**VIDEO, "0": node("V3MakeSound", rate=16000)}
    prompt["2"] = node("V3MakeVideo", images=["1", 0], fps=10.0, audio=["0", 0])
    ran = await client.run(prompt)
    assert ran.ok, ran.error
    assert ran.outputs["3"]["told"][0]["sound"] == [1, 1]


@pytest.mark.parametrize(
    ("format", "quality", "head"),
    [("preview", "", b"fLaC"), ("flac", "", b"fLaC"), ("mp3", "V0", b"ID3"), ("opus", "64k", b"OggS")],
)
async def test_sound_is_written(client, packs_base, format, quality, head):
    prompt = {
        "1": node("V3MakeSound", rate=22050),
        "2": node("V3SaveSound", audio=["1", 0], format=format, quality=quality),
    }
    ran = await client.run(prompt)
    assert ran.ok, ran.error
    (file,) = ran.outputs["2"]["audio"]
    assert file["type"] == ("temp" if format == "preview" else "output")
    data = (packs_base / file["type"] / file["subfolder"] / file["filename"]).read_bytes()
    assert data.startswith(head)
    assert len(data) > 500


async def test_missing_pyav_is_named(client):
    ran = await client.run({"1": node("V3WithoutPyAV")})
    assert ran.error["exception_message"].startswith("video and sound files need PyAV, which is not installed")


async def test_types_of_newer_versions_are_listed_by_their_name(client):
    entry = (await client.get("/object_info/V3Newer"))["V3Newer"]
    assert entry["input"]["optional"] == {"box": ["BOUNDING_BOX", {"default": {"x": 0}}]}
    assert entry["output"] == ["BOUNDING_BOX"]


async def test_names_that_are_not_there_are_told(client):
    missing = {pack["name"]: pack["missing"] for pack in await client.get("/weft/packs")}
    assert "comfy_api.latest.io.BoundingBox" in missing["v3_media"]
    assert "comfy_execution.caching.HierarchicalCache" in missing["v3_engine_names"]
