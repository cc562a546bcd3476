"""Format files of users (reference/vhs_video_combine.md section 4, "Format-file language"), encoded and read back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import pytest

import nodes
from executor import context
from executor.context import RunContext
from executor.errors import NodeInputError
from executor.files import Folders
from executor.settings import Settings
from nodes.builtin.video_combine import VHS_VideoCombine
from nodes.builtin.video_format_files import KIND, user_formats
from nodes.builtin.video_formats import widget_values
from tests.unit.nodes.media_files import bars, read, tone

MINE = {
    "main_pass": [
        "-n", "-c:v", "libx264",
        "-pix_fmt", ["pix_fmt", ["yuv444p", "yuv420p"]],
        "-crf", ["crf", "INT", {"default": 30, "min": 0, "max": 51}],
        ["speed", {"fast": ["-preset", "ultrafast"], "slow": ["-preset", "slow"]}],
        "-g", ["gop", "INT", {"default": 2}, "$val"],
        [["-bf", "$frames_between"]],
        "-vf", "scale=out_color_matrix=bt709", "-color_range", "tv", "-colorspace", "bt709",
    ],
    "extra_widgets": [["speed", ["fast", "slow"]], ["frames_between", "INT", {"default": 0}]],
    "audio_pass": ["-c:a", "flac"],
    "save_metadata": ["save_metadata", "BOOLEAN", {"default": True}],
    "extension": "mkv",
}  # fmt: skip


class Place:
    def __init__(self, base: Path) -> None:
        self.settings = Settings(base_directory=base)
        self.folders = Folders(self.settings)
        self.folders.create()


@pytest.fixture
def place(tmp_path):
    """A worker's folders, with one format file."""
    place = Place(tmp_path)
    write(place, "mine", MINE)
    with context.entered(RunContext(services=place)):
        yield place


def write(place: Place, name: str, text: object) -> None:
    folder = place.folders.models / KIND
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(text))


def combine(**inputs):
    asked = {"images": bars(), "frame_rate": 8.0, "filename_prefix": "x", "format": "video/mine", **inputs}
    return VHS_VideoCombine().combine_video(**asked)["result"][0][1]


def told(place: Place, alpha: bool = False, **given: object):
    chosen = user_formats(place.folders)["video/mine"]
    return chosen.encoding(widget_values(chosen, given), alpha)


@pytest.mark.usefixtures("place")
def test_file_is_listed_with_its_widgets():
    choices, options = VHS_VideoCombine.INPUT_TYPES()["required"]["format"]
    assert choices[-1] == "video/mine"
    assert [widget[0] for widget in options["formats"]["video/mine"]] == [
        "speed", "frames_between", "pix_fmt", "crf", "gop", "save_metadata",
    ]  # fmt: skip


def test_worker_lists_the_file(place):
    registry = nodes.load(place)
    assert "video/mine" in registry.wire_templates()["VHS_VideoCombine"]["input"]["required"]["format"][0]


@pytest.mark.usefixtures("place")
def test_pictures_sound_and_metadata_are_as_the_file_says():
    files = combine(audio=tone(), prompt={"1": 2})
    found = read(files[1])
    assert (found.codec, found.pix_fmt) == ("h264", "yuv444p")
    with av.open(files[2]) as film:
        assert film.streams.audio[0].codec_context.name == "flac"
        assert json.loads(film.metadata["PROMPT"]) == {"1": 2}


def test_arguments_are_what_the_encoder_is_told(place):
    how = told(place, speed="slow", crf=12)
    assert how.options == {"crf": "12", "preset": "slow", "g": "2", "bf": "0"}
    assert (how.container, how.codec, how.bt709) == ("matroska", "libx264", True)


def test_bit_rate_and_alpha_are_read(place):
    more = {"main_pass": ["-c:v", "libvpx-vp9", "-pix_fmt", ["has_alpha", {"True": "yuva420p", "False": "yuv420p"}]],
            "bitrate": ["bitrate", "INT", {"default": 3}], "megabit": "False", "extension": "webm"}  # fmt: skip
    write(place, "mine", more)
    assert (told(place).options, told(place).pix_fmt) == ({"b": "3000"}, "yuv420p")
    assert told(place, alpha=True).pix_fmt == "yuva420p"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"main_pass": ["-filter_complex", "x"]}, "the encoder libx264 has no option 'filter_complex'"),
        ({"main_pass": ["-vf", "fps=3"]}, "argument '-vf fps=3': filters cannot be run here"),
        ({"main_pass": ["-color_range", "pc"]}, "argument '-color_range pc': only tv is made here"),
        ({"main_pass": ["-c:a", "aac"]}, "argument '-c:a' is of another stream"),
        ({"main_pass": ["-crf"]}, "argument '-crf' has no value"),
        ({"main_pass": ["out.mp4"]}, "argument 'out.mp4' is no option of an encoder"),
        ({"pre_pass": ["-vf", "palettegen"]}, "'pre_pass' needs ffmpeg's command line"),
        ({"extension": "%03d.tif"}, "sequences of pictures"),
        ({"audio_pass": ["-b:a", "9"]}, "'audio_pass' says no encoder"),
    ],
)
def test_what_cannot_be_followed_is_named(place, changed, words):
    write(place, "mine", {**MINE, **changed})
    with pytest.raises(NodeInputError, match=words):
        combine()


def test_a_file_that_is_none_is_told_and_left_out(place, caplog):
    write(place, "other", ["no", "object"])
    assert set(user_formats(place.folders)) == {"video/mine"}
    assert "other.json is no video format" in caplog.text


def test_a_broken_file_is_told_once_for_each_change(place, caplog):
    write(place, "other", {"main_pass": []})
    for changed_ns in (1_000_000_000, 1_000_000_000, 2_000_000_000, 2_000_000_000):
        os.utime(place.folders.models / KIND / "other.json", ns=(changed_ns, changed_ns))
        user_formats(place.folders)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].endswith("other.json is no video format, so it is not listed: it has no 'extension'")


def test_ours_stay_beside_a_file_of_the_same_name(place):
    write(place, "h264-mp4", {**MINE, "extension": "mkv"})
    assert combine(format="video/h264-mp4")[1].endswith(".mp4")


def test_metadata_may_be_kept_without_a_widget_for_it(place):
    write(place, "mine", {**MINE, "save_metadata": "True"})
    with av.open(combine(prompt={"1": 2})[1]) as film:
        assert json.loads(film.metadata["PROMPT"]) == {"1": 2}
