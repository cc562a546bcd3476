"""Nodes of VIDEO values: what they save is read back, what they load is what lies there."""

from __future__ import annotations

import json
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import pytest
import torch
from PIL import Image

from executor import context
from executor.context import RunContext
from executor.errors import NodeInputError, UnsafePath
from executor.files import Folders
from executor.inference.video import VideoCodec, VideoComponents, VideoContainer, VideoFromComponents, VideoFromFile
from nodes.builtin.svg import SaveSVGNode
from nodes.builtin.video import CreateVideo, GetVideoComponents, LoadVideo, SaveVideo, SaveWEBM
from nodes.builtin.webcam import WebcamCapture
from tests.unit.nodes.media_files import bar_of, bars, read, tone, turned

PROMPT, EXTRA = {"1": {"class_type": "Ünï"}}, {"workflow": {"nodes": [1, "a=b;c#d"]}}


def made(images=None, fps=8.0, audio=None):
    return CreateVideo().create(bars() if images is None else images, fps, audio)[0]


def save(place, video, prefix="v/x", format="auto", codec="auto"):
    shown = SaveVideo().save(video, prefix, format, codec, PROMPT, EXTRA)
    ((file,), animated) = shown["ui"]["images"], shown["ui"]["animated"]
    assert animated == (True,)
    return file, place.folders.root("output") / file["subfolder"] / file["filename"]


# ---------------------------------------------------------------- saving


def test_video_is_saved_with_pictures_sound_and_words(place):
    file, path = save(place, made(audio=tone(1.0)))
    assert file == {"filename": "x_00001_.mp4", "subfolder": "v", "type": "output"}
    found = read(path)
    assert (found.codec, found.pix_fmt, found.rate, found.colours[1]) == ("h264", "yuv420p", 8, 1)
    assert [bar_of(frame) for frame in found.frames] == [0, 1, 2, 3]
    assert found.sounds == [("aac", 44100, 1)]
    assert found.duration == pytest.approx(500_000, abs=30_000)
    assert (json.loads(found.metadata["prompt"]), json.loads(found.metadata["workflow"])) == (PROMPT, EXTRA["workflow"])


def test_numbers_go_on(place):
    assert [save(place, made())[0]["filename"] for _ in range(2)] == ["x_00001_.mp4", "x_00002_.mp4"]


def test_size_may_stand_in_the_name(place):
    assert save(place, made(), "%width%x%height%")[0]["filename"] == "64x48_00001_.mp4"


def test_odd_sides_grow_by_one(place):
    _, path = save(place, made(bars(2, 47, 63)))
    assert read(path).frames[0].shape == (48, 64, 3)


def test_prefix_may_not_leave_the_folder(place):
    with pytest.raises(UnsafePath):
        save(place, made(), "../evil")


def test_nothing_stays_of_a_video_that_cannot_be_saved(place):
    with pytest.raises(NodeInputError, match="no pictures"):
        save(place, made(torch.zeros(0, 48, 64, 3)), "x")
    assert list(place.folders.root("output").iterdir()) == []


@pytest.mark.parametrize(
    ("images", "fps", "words"),
    [(bars(), 0.0, "'fps': 0.0 is no frame rate"), (torch.zeros(2, 8, 8), 8.0, r"\[B, H, W, C\], not \[2, 8, 8\]")],
)
def test_what_cannot_be_a_video_is_said(place, images, fps, words):
    with pytest.raises(NodeInputError, match=words):
        save(place, made(images, fps))


@pytest.mark.parametrize(("codec", "decoder"), [("vp9", "vp9"), ("av1", "libdav1d")])
def test_webm(place, codec, decoder):
    steps = []
    sink = type("Sink", (), {"advance": lambda self, node, value, total, preview: steps.append((value, total))})()
    with context.entered(RunContext(services=place, sink=sink)):
        shown = SaveWEBM().save(bars(), "w", codec, 12.5, 32.0, PROMPT, EXTRA)
    assert shown["ui"]["images"] == [{"filename": "w_00001_.webm", "subfolder": "", "type": "output"}]
    found = read(place.folders.root("output") / "w_00001_.webm")
    assert (found.codec, found.rate, len(found.frames)) == (decoder, Fraction(25, 2), 4)
    assert json.loads(found.metadata["PROMPT"]) == PROMPT
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


# ---------------------------------------------------------------- loading


@pytest.fixture
def clip(place):
    """A video of four frames with sound in the input folder."""
    path = place.folders.root("input") / "clip.mp4"
    made(audio=tone(0.5, channels=2)).save_to(str(path), metadata={"note": {"a": 1}})
    return path


def test_loaded_video_is_taken_apart(place, clip):
    (video,) = LoadVideo().load("clip.mp4")
    images, audio, fps = GetVideoComponents().take_apart(video)
    assert (tuple(images.shape), images.dtype, fps) == ((4, 48, 64, 3), torch.float32, 8.0)
    assert [bar_of(frame) for frame in images.numpy()] == [0, 1, 2, 3]
    assert float((images - bars()).abs().mean()) < 0.03
    assert (audio["waveform"].shape[:2], audio["sample_rate"]) == ((1, 2), 44100)


def test_a_video_filmed_lying_is_taken_apart_upright(place, clip):
    images = torch.zeros(2, 48, 64, 3)
    images[:, :, :32] = 1.0
    made(images).save_to(str(clip))
    turned(clip, clip.with_name("phone.mp4"), -90)  # players turn it clockwise: the left side comes up
    (video,) = LoadVideo().load("phone.mp4")
    (upright, _, _) = GetVideoComponents().take_apart(video)
    assert video.get_dimensions() == (48, 64) == (upright.shape[2], upright.shape[1])
    assert (upright[:, :30].min() > 0.9, upright[:, 34:].max() < 0.1) == (True, True)


def test_what_a_file_tells_of_itself(clip):
    video = VideoFromFile(str(clip))
    assert (video.get_dimensions(), video.get_frame_count(), video.get_frame_rate()) == ((64, 48), 4, 8)
    assert video.get_duration() == pytest.approx(0.5, abs=0.03)
    assert "mp4" in video.get_container_format().split(",")
    assert video.get_components().metadata["note"] == {"a": 1}


def test_video_in_memory_tells_the_same():
    video = VideoFromComponents(VideoComponents(images=bars(), frame_rate=Fraction(8)))
    assert (video.get_dimensions(), video.get_frame_count(), video.get_duration()) == ((64, 48), 4, 0.5)
    assert VideoFromFile(video.get_stream_source()).get_frame_count() == 4


def test_silent_video_gives_no_sound(place):
    _, path = save(place, made())
    assert VideoFromFile(str(path)).get_components().audio is None


def test_loaded_video_is_copied_not_encoded_again(place, clip):
    (video,) = LoadVideo().load("clip.mp4")
    _, path = save(place, video, format="mp4", codec="h264")
    with av.open(str(clip)) as before, av.open(str(path)) as after:
        packets = [[bytes(packet) for packet in file.demux(video=0) if packet.size] for file in (before, after)]
    assert packets[0] == packets[1]
    assert json.loads(read(path).metadata["prompt"]) == PROMPT
    assert read(path).sounds == [("aac", 44100, 2)]


def test_webm_stays_webm_unless_asked_otherwise(place):
    SaveWEBM().save(bars(), "w", "vp9", 8.0, 32.0)
    video = VideoFromFile(str(place.folders.root("output") / "w_00001_.webm"))
    kept, path = save(place, video)
    assert (Path(kept["filename"]).suffix, read(path).codec) == (".webm", "vp9")
    changed, path = save(place, video, format="mp4")
    assert (Path(changed["filename"]).suffix, read(path).codec) == (".mp4", "h264")


def test_video_is_read_from_a_stream(clip):
    video = VideoFromFile(BytesIO(clip.read_bytes()))
    assert video.get_frame_count() == 4
    copied = BytesIO()
    video.save_to(copied)
    assert VideoFromFile(copied).get_frame_count() == 4


@pytest.mark.parametrize(("format", "codec"), [("webm", "auto"), ("auto", "vp9")])
def test_other_formats_are_refused(format, codec):
    with pytest.raises(NodeInputError, match="videos are written"):
        made().save_to(BytesIO(), format=format, codec=codec)


def test_choices_are_those_of_the_entries():
    assert (VideoContainer.as_input(), VideoCodec.as_input()) == (["auto", "mp4"], ["auto", "h264"])
    assert VideoContainer.get_extension("auto") == "mp4"


@pytest.mark.parametrize("body", [b"", b"no video at all", b"\0" * 5000])
def test_damaged_file_is_named(place, body):
    (place.folders.root("input") / "bad.mp4").write_bytes(body)
    with pytest.raises(NodeInputError, match=r"bad\.mp4 cannot be read as video or sound"):
        LoadVideo().load("bad.mp4")


def test_cut_off_video_is_named(place, clip):
    clip.write_bytes(clip.read_bytes()[:1500])
    with pytest.raises(NodeInputError, match=r"clip\.mp4 cannot be read"):
        LoadVideo().load("clip.mp4")


def test_sound_file_is_no_video(place):
    from executor.inference.sound import write_sound

    write_sound(place.folders.root("input") / "s.mp3", tone()["waveform"][0], 44100, "mp3", "V0", {})
    with pytest.raises(NodeInputError, match=r"s\.mp3 has no video stream"):
        LoadVideo().load("s.mp3")


def test_missing_file_is_named_with_the_nearest(place, clip):
    with pytest.raises(FileNotFoundError, match=r"did you mean 'clip\.mp4'"):
        LoadVideo().load("clop.mp4")
    assert LoadVideo.VALIDATE_INPUTS("clop.mp4") == "Invalid video file: clop.mp4"


def test_changed_file_is_loaded_again(place, clip):
    before = LoadVideo.IS_CHANGED("clip.mp4")
    clip.write_bytes(clip.read_bytes() + b"\0")
    assert LoadVideo.IS_CHANGED("clip.mp4") != before


def test_videos_of_the_input_folder_are_listed(place):
    for name in ("a.mp4", "b.WEBM", "c.mkv", "d.mov", "e.png", "f.mp3", "g.txt"):
        (place.folders.root("input") / name).touch()
    from executor.contract.choices import listed
    from executor.contract.v1 import describe

    found = describe("LoadVideo", LoadVideo).input("file")
    assert listed(found.choices, Folders(place.settings)) == ["a.mp4", "b.WEBM", "c.mkv", "d.mov"]


# ---------------------------------------------------------------- camera, drawings


def test_picture_of_the_camera(place):
    (place.folders.root("temp") / "webcam").mkdir()
    Image.new("RGB", (4, 2), (255, 0, 0)).save(place.folders.root("temp") / "webcam" / "1.png")
    (image,) = WebcamCapture().load_capture("webcam/1.png [temp]", width=0, height=0, capture_on_queue=True)
    assert tuple(image.shape) == (1, 2, 4, 3)
    assert image[0, 0, 0].tolist() == [1.0, 0.0, 0.0]
    assert len(WebcamCapture.IS_CHANGED("webcam/1.png [temp]", width=0)) == 64


class Drawings:
    def __init__(self, *bodies):
        self.data = [BytesIO(body) for body in bodies]


def test_drawings_are_saved_with_the_prompt(place):
    plain, closed = b'<?xml version="1.0"?><svg width="4"><g/></svg>', b'<svg width="4"/>'
    shown = SaveSVGNode().save_svg(Drawings(plain, closed), "svg/d", {"a": "<&"}, EXTRA)
    names = [file["filename"] for file in shown["ui"]["images"]]
    assert names == ["d_00001_.svg", "d_00002_.svg"]
    from xml.etree import ElementTree

    for name in names:
        root = ElementTree.parse(place.folders.root("output") / "svg" / name).getroot()
        texts = {text.get("name"): json.loads(text.text) for text in root.iter("text")}
        assert texts == {"prompt": {"a": "<&"}, "workflow": EXTRA["workflow"]}


@pytest.mark.parametrize("svg", [b"no drawing", 5, Drawings(b"<html></html>")])
def test_what_is_no_drawing_is_refused(place, svg):
    with pytest.raises(NodeInputError, match="is no SVG drawing"):
        SaveSVGNode().save_svg(svg)
