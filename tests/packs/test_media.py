"""Video and sound on a real server: uploaded, loaded, saved, and fetched whole and in parts."""

from __future__ import annotations

from io import BytesIO

import aiohttp
import av
import pytest

from tests.packs.client import node


async def fetched(client, file, **headers):
    query = {key: file[key] for key in ("filename", "subfolder", "type")}
    async with client.session.get("/view", params=query, headers=headers) as response:
        return response.status, response.headers, await response.read()


async def uploaded(client, name, body):
    form = aiohttp.FormData()
    form.add_field("image", body, filename=name)
    async with client.session.post("/upload/image", data=form) as response:
        assert response.status == 200
        return (await response.json())["name"]


async def choices(client, node_name, field):
    entry = (await client.get(f"/object_info/{node_name}"))[node_name]["input"]["required"][field]
    return entry[0] if isinstance(entry[0], list) else entry[1]["options"]


SAVED = {
    "1": node("V3Picture", batch=5),
    "2": node("EmptyAudio", duration=0.5, sample_rate=44100, channels=2),
    "3": node("CreateVideo", images=["1", 0], fps=10.0, audio=["2", 0]),
    "4": node("SaveVideo", video=["3", 0], filename_prefix="media/v", format="auto", codec="auto"),
}


async def test_video_goes_out_and_in_again(client):
    ran = await client.run(SAVED)
    assert ran.ok, ran.error
    shown = ran.outputs["4"]
    (file,) = shown["images"]
    assert shown["animated"] == [True]
    status, headers, body = await fetched(client, file)
    assert (status, headers["Content-Type"], headers["Accept-Ranges"]) == (200, "video/mp4", "bytes")
    name = await uploaded(client, "again.mp4", body)
    assert name in await choices(client, "LoadVideo", "file")
    assert name in await choices(client, "LoadAudio", "audio")
    again = {
        "1": node("LoadVideo", file=name),
        "2": node("GetVideoComponents", video=["1", 0]),
        "3": node("SaveWEBM", images=["2", 0], filename_prefix="media/w", codec="vp9", fps=["2", 2], crf=32.0),
        "4": node("SaveAudioOpus", audio=["2", 1], filename_prefix="media/s", quality="64k"),
    }
    ran = await client.run(again)
    assert ran.ok, ran.error
    status, headers, body = await fetched(client, ran.outputs["3"]["images"][0])
    assert (status, headers["Content-Type"]) == (200, "video/webm")
    with av.open(BytesIO(body)) as container:
        assert (len(list(container.decode(video=0))), container.streams.video[0].average_rate) == (5, 10)
    (sound,) = ran.outputs["4"]["audio"]
    status, headers, part = await fetched(client, sound, Range="bytes=0-3")
    assert (status, headers["Content-Type"], part) == (206, "audio/opus", b"OggS")


@pytest.mark.parametrize(("kind", "saver"), [("audio/flac", "PreviewAudio"), ("audio/mpeg", "SaveAudioMP3")])
async def test_sound_is_played(client, kind, saver):
    more = {} if saver == "PreviewAudio" else {"filename_prefix": "media/m", "quality": "V0"}
    ran = await client.run({"2": SAVED["2"], "3": node(saver, audio=["2", 0], **more)})
    assert ran.ok, ran.error
    status, headers, _ = await fetched(client, ran.outputs["3"]["audio"][0])
    assert (status, headers["Content-Type"]) == (200, kind)


@pytest.mark.parametrize(("name", "field"), [("LoadVideo", "file"), ("LoadAudio", "audio")])
async def test_missing_file_is_refused_before(client, name, field):
    output = {"LoadVideo": node("SaveVideo", video=["1", 0], filename_prefix="x", format="auto", codec="auto"),
              "LoadAudio": node("PreviewAudio", audio=["1", 0])}[name]  # fmt: skip
    status, answer = await client.submit({"1": node(name, **{field: "none.mp4"}), "2": output})
    assert status == 400
    (error,) = answer["node_errors"]["1"]["errors"]
    assert error["type"] == "custom_validation_failed"


async def test_damaged_video_ends_in_words_and_the_next_prompt_runs(client):
    name = await uploaded(client, "broken.mp4", b"\0" * 2000)
    ran = await client.run({"1": node("LoadVideo", file=name), "2": node("SaveVideo", video=["1", 0],
                            filename_prefix="x", format="auto", codec="auto")})  # fmt: skip
    assert "broken.mp4 cannot be read as video or sound" in ran.error["exception_message"]
    assert (await client.run(SAVED)).ok
