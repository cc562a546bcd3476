"""VHS_VideoCombine by reference/vhs_video_combine.md: files read back, their names, and what clients are told."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

import nodes
from executor import context
from executor.context import InterruptFlag, RunContext
from executor.contract.v1 import describe
from executor.errors import Interrupted, NodeInputError, UnknownName, UnsafePath
from executor.files import Folders
from executor.graph.input_checks import InputChecker
from executor.graph.prompt import Prompt
from executor.numbered import file_names
from executor.settings import Settings
from nodes.builtin import video_combine, video_formats
from nodes.builtin.video_combine import VHS_VideoCombine
from nodes.builtin.video_formats import FORMATS
from nodes.builtin.video_meta_batch import MetaBatch
from tests.unit.nodes.media_files import bar_of, bars, read, tone

PROMPT, EXTRA = {"1": {"class_type": "Ünï"}}, {"workflow": {"nodes": [1, "a=b;c#d"]}}
VIDEOS = {
    "video/h264-mp4": ("h264", "yuv420p", ("aac", 44100)),
    "video/h265-mp4": ("hevc", "yuv420p10le", ("aac", 44100)),
    "video/webm": ("vp9", "yuv420p", ("opus", 48000)),
    "video/av1-webm": ("libdav1d", "yuv420p10le", ("opus", 48000)),
    "video/ProRes": ("prores", "yuv422p10le", ("pcm_s16le", 44100)),
    "video/ffv1-mkv": ("ffv1", "gbrap16le", ("flac", 44100)),
}
"""Format -> decoder, pixels and sound when every widget stands as declared."""


def combine(images=None, **inputs):
    asked = {"images": bars() if images is None else images, "frame_rate": 8.0, "filename_prefix": "x"}
    answer = VHS_VideoCombine().combine_video(**{**asked, **inputs})
    return answer.get("ui", {}).get("gifs", [None])[0], answer["result"][0]


def animation(path):
    with Image.open(path) as picture:
        frames, durations = [], []
        for number in range(picture.n_frames):
            picture.seek(number)
            picture.load()
            frames.append(np.array(picture.convert("RGB")))
            durations.append(picture.info["duration"])
        return picture.info.get("loop"), frames, durations


# ---------------------------------------------------------------- declaration


REGISTRY = nodes.load()
BATCH = MetaBatch(frames=2, number=0, series="vhs_batch_x", goes_on=True)


def checked(**inputs):
    given = {"images": ["2", 0], "frame_rate": 6, "loop_count": 0, "filename_prefix": "x", "format": "image/gif",
             "pingpong": False, "save_output": True, **inputs}  # fmt: skip
    kept = {name: value for name, value in given.items() if value is not None}
    prompt = Prompt.parse({
        "1": {"class_type": "VHS_VideoCombine", "inputs": kept},
        "2": {"class_type": "EmptyImage", "inputs": {}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {}},
        "4": {"class_type": "PrimitiveInt", "inputs": {}},
        "5": {"class_type": "PrimitiveString", "inputs": {}},
    }, REGISTRY.definitions)  # fmt: skip
    folders = Folders(Settings(base_directory=Path("/nowhere")))
    return InputChecker(prompt, REGISTRY.definitions, folders).check("1")


def test_entry_is_that_of_the_pack():
    entry = REGISTRY.wire_templates()["VHS_VideoCombine"]
    assert (entry["display_name"], entry["category"]) == ("Video Combine 🎥🅥🅗🅢", "Video Helper Suite 🎥🅥🅗🅢")
    assert entry["output"] == ["VHS_FILENAMES"]
    assert entry["output_name"] == ["Filenames"]
    assert entry["output_node"] is True
    required = entry["input"]["required"]
    assert list(required) == [
        "images", "frame_rate", "loop_count", "filename_prefix", "format", "pingpong", "save_output",
    ]  # fmt: skip
    assert required["images"] == ["IMAGE"]
    assert required["frame_rate"] == ["FLOAT", {"default": 8, "min": 1, "step": 1}]
    assert required["loop_count"] == ["INT", {"default": 0, "min": 0, "max": 100, "step": 1}]
    assert entry["input"]["optional"] == {"audio": ["AUDIO"], "meta_batch": ["VHS_BatchManager"], "vae": ["VAE"]}
    assert entry["input"]["hidden"] == {
        "prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO", "unique_id": "UNIQUE_ID",
    }  # fmt: skip


def test_formats_tell_their_widgets():
    choices, options = REGISTRY.wire_templates()["VHS_VideoCombine"]["input"]["required"]["format"]
    assert choices[:2] == ["image/gif", "image/webp"]
    assert set(options["formats"]) <= set(choices)
    assert options["formats"]["image/webp"] == [["lossless", "BOOLEAN", {"default": True}]]
    assert "image/gif" not in options["formats"]
    assert [widget[0] for widget in options["formats"]["video/h264-mp4"]] == [
        "pix_fmt", "crf", "save_metadata", "trim_to_audio",
    ]  # fmt: skip


@pytest.mark.parametrize(("given", "meant"), [(6, 6.0), ("7.5", 7.5)])
def test_frame_rate_is_converted_as_a_float(given, meant):
    value = checked(frame_rate=given).values["frame_rate"]
    assert (type(value), value) == (float, meant)


@pytest.mark.parametrize(("field", "link"), [("images", ["3", 0]), ("frame_rate", ["4", 0])])
def test_other_types_that_fit_may_be_linked(field, link):
    assert checked(**{field: link}).errors == []


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ({"loop_count": None}, "required_input_missing"),
        ({"format": "video/h266"}, "value_not_in_list"),
        ({"frame_rate": 0}, "value_smaller_than_min"),
        ({"images": ["5", 0]}, "return_type_mismatch"),
    ],
)
def test_prompt_that_cannot_run_is_refused(inputs, kind):
    (error,) = checked(**inputs).errors
    assert error["type"] == kind


def test_undeclared_inputs_are_passed_on():
    assert describe("VHS_VideoCombine", VHS_VideoCombine).open_inputs


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("fps", [8.0, 10.0])
def test_gif(place, fps):
    shown, (saved, files) = combine(format="image/gif", frame_rate=fps, loop_count=3)
    loop, frames, durations = animation(files[1])
    assert (saved, loop, [bar_of(frame) for frame in frames]) == (True, 3, [0, 1, 2, 3])
    assert durations == [round(1000 / fps) // 10 * 10] * 4  # a GIF counts hundredths of a second
    assert shown["format"] == "image/gif"


def test_webp_is_lossless_unless_asked_otherwise(place):
    _, (_, files) = combine(format="image/webp")
    loop, frames, durations = animation(files[1])
    assert (loop, durations) == (0, [125] * 4)
    assert np.array_equal(np.stack(frames), (bars() * 255 + 0.5).to(torch.uint8).numpy())
    _, (_, lossy) = combine(format="image/webp", lossless=False)
    assert not np.array_equal(np.stack(animation(lossy[1])[1]), np.stack(frames))


def test_animations_keep_the_size_of_the_pictures(place):
    _, (_, files) = combine(bars(2, 47, 63), format="image/gif")
    assert animation(files[1])[1][0].shape == (47, 63, 3)


@pytest.mark.parametrize("name", VIDEOS)
def test_video_is_read_back_as_it_went_in(place, name):
    codec, pixels, _ = VIDEOS[name]
    shown, (_, files) = combine(bars(4, 47, 63), format=name)
    found = read(files[1])
    frames = found.frames
    assert (found.codec, found.pix_fmt) == (codec, pixels)
    assert (len(frames), frames[0].shape, found.rate) == (4, (48, 64, 3), 8)
    assert [bar_of(frame) for frame in frames] == [0, 1, 2, 3]
    assert np.abs(frames[0][24, 40].astype(int) - [102, 0, 0]).max() <= 6
    assert shown["filename"] == Path(files[1]).name
    assert found.duration == 500_000


@pytest.mark.parametrize("name", ["video/h264-mp4", "video/webm", "video/h265-mp4", "video/av1-webm"])
def test_video_is_tagged_as_limited_bt709(place, name):
    _, (_, files) = combine(format=name)
    assert read(files[1]).colours == (1, 1, 1, 1)


def test_ffv1_keeps_sixteen_bits(place):
    images = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    _, (_, files) = combine(images, format="video/ffv1-mkv")
    with av.open(files[1]) as container:
        frames = np.stack([frame.to_ndarray(format="rgb48le") for frame in container.decode(video=0)])
    expected = np.floor(images.double().numpy() * 65535 + 0.5)
    assert np.abs(frames.astype(float) - expected).max() <= 1


def test_transparency_is_kept_where_the_format_has_it(place):
    images = bars(2, channels=4)
    images[:, :24, :, 3] = 0.0
    _, (_, files) = combine(images, format="video/ProRes", profile="4444")
    with av.open(files[1]) as container:
        alpha = next(container.decode(video=0)).to_ndarray(format="rgba")[..., 3]
    assert alpha[4, 4] < 8
    assert alpha[40, 4] > 247


def test_alpha_pixels_in_webm(place):
    _, (_, files) = combine(bars(2, channels=4), format="video/webm", pix_fmt="yuva420p")
    assert len(read(files[1]).frames) == 2


def test_gif_of_ffmpeg_has_one_palette(place):
    _, (_, files) = combine(format="video/ffmpeg-gif", dither="bayer")
    _, frames, durations = animation(files[1])
    assert [bar_of(frame) for frame in frames] == [0, 1, 2, 3]
    assert sum(durations) == pytest.approx(500, abs=10)  # hundredths of a second, rounded by the encoder


@pytest.mark.parametrize(("name", "mode"), [("video/8bit-png", "RGB"), ("video/16bit-png", "RGB")])
def test_png_sequence(place, name, mode):
    shown, (_, files) = combine(format=name)
    assert Path(files[1]).name == shown["filename"] == "x_00001.%03d.png"
    assert shown["frames"] == 4
    for number in range(4):
        with Image.open(files[1] % (number + 1)) as picture:
            assert (picture.mode, bar_of(np.array(picture))) == (mode, number)
    bits = Path(files[1] % 1).read_bytes()[24]
    assert bits == (16 if "16" in name else 8)


def test_a_percent_sign_in_the_prefix_stays(place):
    shown, (_, files) = combine(bars(2), format="video/8bit-png", filename_prefix="50%d")
    assert shown["filename"] == "50%d_00001.%03d.png"
    assert [(Path(files[1]).parent / name).is_file() for name in file_names(shown)] == [True, True]


def test_single_picture_of_a_sequence_is_shown_as_a_picture(place):
    shown, _ = combine(bars(1), format="video/8bit-png")
    assert (shown["format"], shown["filename"]) == ("image/png", "x_00001.001.png")
    assert shown["fullpath"].endswith("x_00001.%03d.png")
    assert "frames" not in shown


@pytest.mark.parametrize(("count", "order"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3, 2, 1])])
@pytest.mark.parametrize("name", ["image/gif", "video/h264-mp4"])
def test_pingpong_goes_back_without_both_ends(place, name, count, order):
    _, (_, files) = combine(bars(count), format=name, pingpong=True)
    frames = animation(files[1])[1] if name == "image/gif" else read(files[1]).frames
    assert [bar_of(frame) for frame in frames] == order


def test_loops_of_a_video_are_more_frames(place):
    _, (_, files) = combine(bars(3), format="video/h264-mp4", loop_count=2)
    assert [bar_of(frame) for frame in read(files[1]).frames] == [0, 1, 2] * 3


def test_values_are_rounded_not_cut(place):
    _, (_, files) = combine(torch.full((1, 2, 2, 3), 100.6 / 255), format="image/webp")
    assert animation(files[1])[1][0][0, 0].tolist() == [101, 101, 101]


# ---------------------------------------------------------------- words in files


@pytest.mark.parametrize("name", VIDEOS)
def test_prompt_and_workflow_stand_in_files_that_can_hold_them(place, name):
    _, (_, files) = combine(format=name, prompt=PROMPT, extra_pnginfo=EXTRA)
    kept = {key.lower(): text for key, text in read(files[1]).metadata.items()}
    if FORMATS[name].keeps_metadata:
        assert (json.loads(kept["prompt"]), json.loads(kept["workflow"])) == (PROMPT, EXTRA["workflow"])
    else:
        assert "prompt" not in kept


def test_metadata_can_be_left_out(place):
    _, (_, files) = combine(format="video/h264-mp4", prompt=PROMPT, save_metadata=False)
    assert "prompt" not in read(files[1]).metadata


def test_cover_is_the_first_frame_with_the_workflow(place):
    _, (_, files) = combine(prompt=PROMPT, extra_pnginfo=EXTRA)
    with Image.open(files[0]) as cover:
        cover.load()
        assert bar_of(np.array(cover)) == 0
        assert list(cover.text) == ["prompt", "workflow", "CreationTime"]
        assert json.loads(cover.text["workflow"]) == EXTRA["workflow"]


def test_cover_may_be_unwanted(place):
    _, (_, files) = combine(extra_pnginfo={"workflow": {"extra": {"VHS_MetadataImage": False}}})
    assert [Path(file).is_file() for file in files] == [False, True]


# ---------------------------------------------------------------- names


def test_what_clients_are_told(place):
    shown, (_, files) = combine(format="video/h264-mp4", filename_prefix="a/b")
    folder = place.folders.root("output") / "a"
    assert shown == {
        "filename": "b_00001.mp4", "subfolder": "a", "type": "output", "format": "video/h264-mp4", "frame_rate": 8.0,
        "workflow": "b_00001.png", "fullpath": str(folder / "b_00001.mp4"),
    }  # fmt: skip
    assert files == [str(folder / "b_00001.png"), str(folder / "b_00001.mp4")]


def test_one_counter_for_all_files_of_a_prefix(place):
    output = place.folders.root("output")
    for name in ("X_00003-audio.mp4", "x_00010.001.png", "x_00099_.png.bak", "xy_00050.png", "x_7", "y_00200.gif"):
        (output / name).touch()
    shown, _ = combine()
    assert shown["filename"] == "x_00100.gif"


def test_videos_with_sound_count(place):
    (place.folders.root("output") / "x_00041-audio.mp4").touch()
    assert combine()[0]["filename"] == "x_00042.gif"


def test_unsaved_results_go_to_temp(place):
    shown, (saved, files) = combine(save_output=False)
    assert (saved, shown["type"]) == (False, "temp")
    assert Path(files[1]).parent == place.folders.root("temp")


def test_prefix_may_not_leave_the_folder(place):
    with pytest.raises(UnsafePath):
        combine(filename_prefix="../evil")


# ---------------------------------------------------------------- sound


@pytest.mark.parametrize("name", VIDEOS)
def test_sound_stands_in_a_second_file(place, name):
    shown, (_, files) = combine(format=name, audio=tone(), prompt=PROMPT)
    assert [Path(file).name.partition(".")[0] for file in files] == ["x_00001", "x_00001", "x_00001-audio"]
    assert shown["filename"] == Path(files[2]).name
    found = read(files[2])
    assert found.sounds == [(*VIDEOS[name][2], 1)]
    assert [bar_of(frame) for frame in found.frames] == [0, 1, 2, 3]
    assert found.duration == pytest.approx(500_000, abs=30_000)


def test_tag_of_h265_stays_beside_sound(place):
    _, (_, files) = combine(format="video/h265-mp4", audio=tone())
    assert {read(file).tag for file in files[1:]} == {"hvc1"}


@pytest.mark.parametrize(("seconds", "heard"), [(0.25, 0.5), (2.0, 0.5)])
def test_sound_is_fitted_to_the_pictures(place, seconds, heard):
    _, (_, files) = combine(format="video/ffv1-mkv", audio=tone(seconds))
    with av.open(files[2]) as container:
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert samples.shape[1] / 44100 == heard
    assert bool(np.abs(samples[:, int(0.3 * 44100) :]).max()) == (seconds > heard)


def test_trimming_ends_the_pictures_with_the_sound(place):
    _, (_, files) = combine(bars(8), format="video/webm", audio=tone(0.5), trim_to_audio=True)
    assert len(read(files[2]).frames) == 4
    assert len(read(files[1]).frames) == 8


def test_stereo_stays_stereo(place):
    _, (_, files) = combine(format="video/h264-mp4", audio=tone(channels=2, rate=22050))
    assert read(files[2]).sounds == [("aac", 22050, 2)]


def test_intermediate_files_may_be_unwanted(place):
    extra = {"workflow": {"extra": {"VHS_KeepIntermediate": False}}}
    _, (_, files) = combine(format="video/h264-mp4", audio=tone(), extra_pnginfo=extra)
    assert [Path(file).is_file() for file in files] == [True, False, True]


def test_format_without_sound_leaves_it_out(place, caplog):
    _, (_, files) = combine(format="image/gif", audio=tone())
    assert len(files) == 2
    assert "image/gif holds no sound" in caplog.text


class Silent(dict):
    """The lazy sound of a video that has none, as the pack's loader gives it."""

    def __getitem__(self, key):
        raise RuntimeError("no audio stream")


def test_sound_of_a_silent_video_is_no_sound(place):
    _, (_, files) = combine(format="video/h264-mp4", audio=Silent(waveform=0, sample_rate=0))
    assert len(files) == 2


# ---------------------------------------------------------------- latents


class Doubling:
    """A VAE whose pictures are its latents, twice as large; remembers how many it decoded at once."""

    downscale_ratio = 2

    def __init__(self):
        self.batches = []

    def decode(self, samples):
        self.batches.append(len(samples))
        return samples.repeat_interleave(2, -1).repeat_interleave(2, -2).movedim(1, -1)


def test_latents_are_decoded_in_groups(place, monkeypatch):
    monkeypatch.setattr("executor.inference.frames.DECODED_PIXELS", 48 * 64 * 3)
    vae = Doubling()
    latents = {"samples": bars(4, 24, 32).movedim(-1, 1)}
    _, (_, files) = combine(latents, vae=vae, format="image/webp")
    assert len(animation(files[1])[1]) == 4
    assert max(vae.batches) == 3


def test_latents_need_a_vae(place):
    with pytest.raises(NodeInputError, match="latents need a VAE"):
        combine({"samples": torch.zeros(1, 4, 8, 8)})


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize("images", [None, torch.zeros(0, 8, 8, 3)])
def test_no_pictures_give_no_file(place, images):
    answer = VHS_VideoCombine().combine_video(images=images, frame_rate=8.0, format="video/h264-mp4")
    assert answer == {"result": ((True, []),)}
    assert list(place.folders.root("output").iterdir()) == []


@pytest.mark.parametrize("name", ["image/gif", "video/h264-mp4"])
def test_pictures_that_are_no_numbers_are_black(place, name, caplog):
    images = bars(2)
    images[1] = float("nan")
    _, (_, files) = combine(images, format=name)
    frames = animation(files[1])[1] if name == "image/gif" else read(files[1]).frames
    assert frames[1].max() <= 2
    assert "frame 1 holds values that are no numbers" in caplog.text


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"frame_rate": 0.0}, "0.0 is no frame rate"),
        ({"frame_rate": float("nan")}, "nan is no frame rate"),
        ({"pix_fmt": "yuv420q"}, "'yuv420q' is none of its choices; did you mean 'yuv420p'"),
        ({"crf": 400}, "400 is outside 0 to 100; the nearest is 100"),
        ({"crf": "much"}, "'much' is no whole number"),
        ({"audio": {"waveform": torch.zeros(3, 4), "sample_rate": 8}}, r"\[batch, channels, samples\], not \[3, 4\]"),
        ({"audio": "song.mp3"}, "str is no sound"),
        ({"audio": tone(channels=9)}, "sound of 9 channels cannot be encoded"),
        ({"images": torch.zeros(2, 8, 8)}, r"\[B, H, W, C\], not \[2, 8, 8\]"),
        ({"images": "picture.png"}, "str is neither pictures nor a latent"),
        ({"meta_batch": BATCH}, "need a server with a queue"),
        ({"meta_batch": BATCH, "format": "image/gif"}, "cannot be made in batches"),
    ],
)
def test_what_cannot_be_is_said(place, inputs, words):
    with pytest.raises(NodeInputError, match=words):
        combine(**{"format": "video/h264-mp4", **inputs})


def test_unknown_format_is_named_with_the_nearest(place):
    with pytest.raises(UnknownName, match="did you mean 'video/h264-mp4'"):
        combine(format="video/h264mp4")


def test_encoder_that_cannot_run_is_named_and_leaves_nothing(place, monkeypatch):
    def refusing(values, alpha):
        return video_formats.VideoEncoding(container="mp4", codec="libx264", pix_fmt="yuv420p", options={"crf": "x"})

    broken = {"f": video_formats.Format(name="video/f", extension="mp4", encoding=refusing)}
    monkeypatch.setattr(video_formats, "FORMATS", broken)
    with pytest.raises(NodeInputError, match="encoding with libx264 failed: Invalid argument"):
        combine(format="f")
    assert list(place.folders.root("output").iterdir()) == []


def test_widgets_may_come_in_one_dictionary(place):
    _, (_, files) = combine(format="video/h264-mp4", manual_format_widgets={"pix_fmt": "yuv420p10le"})
    assert read(files[1]).pix_fmt == "yuv420p10le"


# ---------------------------------------------------------------- progress


class Steps:
    def __init__(self, flag=None, stop_at=None):
        self.told, self.flag, self.stop_at = [], flag, stop_at

    def advance(self, node_id, value, total, preview):
        self.told.append((value, total))
        if value == self.stop_at:
            self.flag.set()


@pytest.mark.parametrize(("name", "count"), [("image/gif", 4), ("image/webp", 4), ("video/webm", 4),
                                              ("video/8bit-png", 4), ("video/ffmpeg-gif", 8)])  # fmt: skip
def test_progress_goes_frame_by_frame(place, name, count):
    steps = Steps()
    with context.entered(RunContext(services=place, sink=steps)):
        combine(format=name)
    assert steps.told == [(number, count) for number in range(1, count + 1)]


@pytest.mark.parametrize("name", ["image/gif", "video/h264-mp4"])
def test_interrupt_ends_between_frames_and_leaves_nothing(place, name):
    flag = InterruptFlag()
    steps = Steps(flag, stop_at=2)
    with context.entered(RunContext(services=place, sink=steps, interrupt=flag)), pytest.raises(Interrupted):
        combine(format=name)
    assert len(steps.told) == 2
    assert list(place.folders.root("output").iterdir()) == []


def test_pictures_are_encoded_one_by_one(place, monkeypatch):
    made, before = [], video_combine.file_values
    steps = Steps()
    monkeypatch.setattr(video_combine, "file_values", lambda *args: made.append(len(steps.told)) or before(*args))
    with context.entered(RunContext(services=place, sink=steps)):
        combine(format="video/h264-mp4")
    assert made == [0, 1, 2, 3, 4]  # each after the step before was told, the last one for the cover


# ---------------------------------------------------------------- gifski


@pytest.fixture
def gifski(tmp_path, monkeypatch):
    """A program that stands for gifski: writes what it was told, and how many pictures lie beside it."""
    program = tmp_path / "gifski.sh"
    program.write_text('#!/bin/sh\n[ "$4" = 13 ] && { echo no luck >&2; exit 3; }\n'
                       'echo "$1 $2 $3 $4 $5 $(ls *.png | wc -l) $(basename $7)" > "$6"\n')  # fmt: skip
    program.chmod(0o755)
    monkeypatch.setenv("VHS_GIFSKI", str(program))


def test_gifski_is_listed_only_where_it_is_installed(gifski, monkeypatch):
    assert "video/gifski" in video_formats.formats()
    monkeypatch.delenv("VHS_GIFSKI")
    monkeypatch.setenv("PATH", "")
    assert "video/gifski" not in video_formats.formats()


@pytest.mark.usefixtures("gifski")
def test_gifski_is_given_every_frame_the_rate_and_the_quality(place):
    ui, (_, files) = combine(bars(4), format="video/gifski", frame_rate=7.5, quality=55, pingpong=True)
    assert Path(files[-1]).read_text().split() == [
        "--fps", "7.5", "--quality", "55", "--output", "6", "00000000.png",
    ]  # fmt: skip
    assert ui["format"] == "image/gif"


@pytest.mark.usefixtures("gifski")
def test_what_gifski_says_is_told_where_it_fails(place):
    with pytest.raises(NodeInputError, match="gifski ended with status 3: no luck"):
        combine(bars(2), format="video/gifski", quality=13)
    assert not list(place.folders.root("output").rglob("*.gif"))
