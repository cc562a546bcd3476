"""VideoHelperSuite's nodes that load videos, folders of pictures and sound, and its small ones around them."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nodes
from executor.contract.choices import listed
from executor.contract.v1 import describe
from executor.errors import NodeInputError, UnknownName, UnsafePath
from executor.inference.sound import write_sound
from executor.inference.video_encoding import VideoEncoding, encode_video
from nodes.builtin.picture_folders import VHS_LoadImagePath, VHS_LoadImages, VHS_LoadImagesPath
from nodes.builtin.video_combine import VHS_VideoCombine
from nodes.builtin.video_helper import (
    VHS_LoadAudio,
    VHS_LoadAudioUpload,
    VHS_PruneOutputs,
    VHS_SelectFilename,
    VHS_Unbatch,
    VHS_VideoInfo,
    VHS_VideoInfoLoaded,
    VHS_VideoInfoSource,
)
from nodes.builtin.video_load import (
    VHS_LoadVideo,
    VHS_LoadVideoFFmpeg,
    VHS_LoadVideoFFmpegPath,
    VHS_LoadVideoPath,
)
from nodes.builtin.video_meta_batch import MetaBatch, VHS_BatchManager
from tests.unit.nodes.media_files import bar_of, bars, delayed, read, tone, turned

REGISTRY = nodes.load()
RATE = Fraction(8)


@pytest.fixture
def inputs(place):
    """The input folder, with a clip of eight frames and a second of sound."""
    folder = place.folders.root("input")
    _, files = VHS_VideoCombine().combine_video(
        images=bars(8), frame_rate=8.0, format="video/h264-mp4", filename_prefix="c", audio=tone(1.0)
    )["result"][0]
    Path(files[2]).rename(folder / "clip.mp4")
    return folder


def load(name="clip.mp4", node=VHS_LoadVideo, **asked):
    return node().load_video(name, **{"force_rate": 0, "custom_width": 0, "custom_height": 0, "frame_load_cap": 0,
                                      "skip_first_frames": 0, "select_every_nth": 1, **asked})  # fmt: skip


def bars_of(images):
    return [bar_of(frame) for frame in images.numpy()]


# ---------------------------------------------------------------- videos


def test_all_frames(inputs):
    images, count, sound, info = load()
    assert (tuple(images.shape), count, bars_of(images)) == ((8, 48, 64, 3), 8, list(range(8)))
    assert (sound["sample_rate"], tuple(sound["waveform"].shape[:2])) == (44100, (1, 1))
    assert info == {
        "source_fps": 8.0, "source_frame_count": 8, "source_duration": pytest.approx(1.0, abs=0.03), "source_width": 64,
        "source_height": 48, "loaded_fps": 8.0, "loaded_frame_count": 8, "loaded_duration": 1.0, "loaded_width": 64,
        "loaded_height": 48,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "frames", "fps"),
    [
        ({"skip_first_frames": 2, "frame_load_cap": 3}, [2, 3, 4], 8.0),
        ({"select_every_nth": 3}, [0, 3, 6], 8 / 3),
        ({"select_every_nth": 2, "frame_load_cap": 3, "skip_first_frames": 1}, [1, 3, 5], 4.0),
        ({"force_rate": 4.0}, [0, 2, 4, 6], 4.0),
        ({"force_rate": 16.0, "frame_load_cap": 4}, [0, 0, 1, 1], 16.0),
        ({"force_rate": 4.0, "skip_first_frames": 1, "select_every_nth": 2, "frame_load_cap": 1}, [2], 2.0),
        ({"format": "Wan"}, [0, 1, 2, 3, 4], 8.0),
    ],
)
def test_some_frames(inputs, asked, frames, fps):
    images, count, _, info = load(**asked)
    assert (bars_of(images), count) == (frames, len(frames))
    assert info["loaded_fps"] == pytest.approx(fps)


def test_a_batch_manager_begins_a_series_and_goes_on_with_one():
    [first] = VHS_BatchManager().update_batch(16, prompt={}, unique_id="1")
    [third] = VHS_BatchManager().update_batch(16, requeue=2, series=first.series)
    assert (first.begin, third.begin, third.series) == (0, 32, first.series)
    [other] = VHS_BatchManager().update_batch(16, requeue=2, series="../elsewhere")
    assert other.series.startswith("vhs_batch_")
    with pytest.raises(NodeInputError, match="at least one frame"):
        VHS_BatchManager().update_batch(0)


@pytest.mark.parametrize(
    ("number", "asked", "frames", "goes_on"),
    [
        (0, {}, [0, 1, 2], True),
        (2, {}, [6, 7], False),
        (1, {"frame_load_cap": 4}, [3], False),
        (0, {"frame_load_cap": 3}, [0, 1, 2], False),
        (1, {"select_every_nth": 2, "skip_first_frames": 1}, [7], False),
        (1, {"format": "Wan"}, [3, 4, 5], True),
    ],
)
def test_a_batch_is_the_next_frames_with_the_sound_of_all(inputs, number, asked, frames, goes_on):
    batch = MetaBatch(frames=3, number=number, series="x")
    images, count, sound, info = load(**asked, meta_batch=batch)
    assert (bars_of(images), count, info["loaded_frame_count"]) == (frames, len(frames), len(frames))
    assert batch.goes_on is goes_on
    assert sound["waveform"].shape == load(**{**asked, "format": "None"})[2]["waveform"].shape


@pytest.mark.parametrize(
    ("asked", "size"),
    [({"custom_width": 32}, (24, 32)), ({"custom_width": 50, "format": "AnimateDiff"}, (40, 48)),
     ({"custom_width": 16, "custom_height": 48}, (48, 16))],
)  # fmt: skip
def test_size(inputs, asked, size):
    images, _, _, info = load(**asked)
    assert tuple(images.shape[1:3]) == size == (info["loaded_height"], info["loaded_width"])


@pytest.mark.parametrize(("degrees", "turns"), [(-90, -1), (90, 1), (180, 2)])
@pytest.mark.parametrize("node", [VHS_LoadVideo, VHS_LoadVideoFFmpeg])
def test_a_video_filmed_lying_is_loaded_upright(inputs, node, degrees, turns):
    turned(inputs / "clip.mp4", inputs / "phone.mp4", degrees)
    images, info = (load("phone.mp4", node)[place] for place in (0, 3))
    upright = torch.rot90(load(node=node)[0], turns, dims=(1, 2))
    assert torch.equal(images, upright)
    assert (info["source_height"], info["source_width"]) == tuple(upright.shape[1:3])


def test_sound_belongs_to_the_frames_that_were_asked_for(inputs):
    _, _, sound, _ = load(skip_first_frames=4, frame_load_cap=2)
    assert sound["waveform"].shape[-1] / 44100 == pytest.approx(0.25, abs=0.03)
    images, mask, sound, _ = load(node=VHS_LoadVideoFFmpeg, start_time=0.5)
    assert bars_of(images) == [4, 5, 6, 7]
    assert tuple(mask.shape) == (4, 64, 64)
    assert not mask.any()


def test_times_count_from_where_a_file_begins(inputs):
    delayed(inputs / "clip.mp4", inputs / "late.mkv", 1.5)
    images, _, sound, _ = load("late.mkv", skip_first_frames=4, frame_load_cap=2)
    assert (bars_of(images), sound["waveform"].shape[-1]) == ([4, 5], 11025)
    images, _, sound, _ = load("late.mkv", VHS_LoadVideoFFmpeg, start_time=0.5)
    assert (bars_of(images), sound["waveform"].shape[-1] / 44100) == ([4, 5, 6, 7], pytest.approx(0.5, abs=0.06))


def test_transparency_becomes_a_mask(place):
    frames = [np.full((8, 8, 4), 255, np.uint8) for _ in range(2)]
    frames[1][:, :4, 3] = 0
    how = VideoEncoding(container="mov", codec="prores_ks", pix_fmt="yuva444p10le", options={"profile": "4444"})
    encode_video(place.folders.root("input") / "a.mov", frames, RATE, how)
    _, mask, _, _ = load("a.mov", VHS_LoadVideoFFmpeg)
    assert tuple(mask.shape) == (2, 8, 8)
    assert mask[1, :, :4].min() > 0.95
    assert mask[1, :, 4:].max() < 0.05


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_transparency_of_webm_becomes_a_mask(place, codec):
    frames = [np.full((16, 16, 4), 255, np.uint8) for _ in range(3)]
    for frame in frames:
        frame[:, :, 2], frame[:, :8, 3] = 0, 0
    options = {"auto-alt-ref": "0", "crf": "4", "b": "1M"}
    how = VideoEncoding(container="webm", codec=codec, pix_fmt="yuva420p", options=options)
    encode_video(place.folders.root("input") / "a.webm", frames, RATE, how)
    images, mask, _, _ = load("a.webm", VHS_LoadVideoFFmpeg, start_time=0.1)
    assert tuple(mask.shape) == (2, 16, 16)
    assert mask[:, :, :7].min() > 0.95
    assert mask[:, :, 9:].max() < 0.05
    assert torch.allclose(images[0, 0, 12], torch.tensor([1.0, 1.0, 0.0]), atol=0.05)


def test_silent_video_says_so_when_its_sound_is_asked_for(place, inputs):
    encode_video(inputs / "s.mp4", [np.zeros((8, 8, 3), np.uint8)] * 2, RATE,
                 VideoEncoding(container="mp4", codec="libx264", pix_fmt="yuv420p"))  # fmt: skip
    images, _, sound, _ = load("s.mp4")
    with pytest.raises(NodeInputError, match=r"s\.mp4 holds no sound"):
        sound["waveform"]
    answer = VHS_VideoCombine().combine_video(images=images, frame_rate=8.0, format="video/h264-mp4", audio=sound)
    assert len(answer["result"][0][1]) == 2


def test_loaded_sound_goes_into_the_next_video(inputs):
    images, _, sound, _ = load()
    _, files = VHS_VideoCombine().combine_video(images=images, frame_rate=8.0, format="video/webm", audio=sound)[
        "result"
    ][0]
    assert read(files[2]).sounds == [("opus", 48000, 1)]


class Halving:
    downscale_ratio = 16

    def encode(self, pixels):
        return pixels[:, ::16, ::16].movedim(-1, 1)


def test_vae_gives_latents_of_its_own_sizes(inputs):
    latent, count, _, info = load(custom_width=50, vae=Halving())
    assert (tuple(latent["samples"].shape), count) == ((8, 3, 2, 3), 8)
    assert (info["loaded_width"], info["loaded_height"]) == (48, 32)


@pytest.mark.parametrize(
    ("asked", "cause", "words"),
    [
        ({"skip_first_frames": 8}, NodeInputError, "no frames are left of 8"),
        ({"format": "Wam"}, UnknownName, "did you mean 'Wan'"),
        ({"meta_batch": MetaBatch(frames=4, number=2, series="x")}, NodeInputError, "no frames are left of 8"),
        (
            {"meta_batch": MetaBatch(frames=4, number=1, series="x"), "frame_load_cap": 3},
            NodeInputError,
            "has no frames left for batch 2",
        ),
        ({"force_rate": -1.0}, NodeInputError, "'force_rate': -1.0 is no frame rate"),
    ],
)
def test_what_cannot_be_loaded_is_said(inputs, asked, cause, words):
    with pytest.raises(cause, match=words):
        load(**asked)


def test_videos_are_listed_and_checked(place, inputs):
    (inputs / "x.txt").touch()
    found = describe("VHS_LoadVideo", VHS_LoadVideo).input("video")
    assert (listed(found.choices, place.folders), found.file_check) == (["clip.mp4"], "video")
    before = VHS_LoadVideo.IS_CHANGED("clip.mp4")
    (inputs / "clip.mp4").touch()
    assert VHS_LoadVideo.IS_CHANGED("clip.mp4") != before


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize("node", [VHS_LoadVideoPath, VHS_LoadVideoFFmpegPath])
def test_video_by_path(inputs, node):
    for path in (str(inputs / "clip.mp4"), f'"{inputs / "clip.mp4"}"', "clip.mp4", "input/clip.mp4"):
        assert len(load(path, node)[0]) == 8
    assert node.IS_CHANGED("clip.mp4") == VHS_LoadVideo.IS_CHANGED("clip.mp4")


@pytest.mark.parametrize(
    ("path", "cause", "words"),
    [("", FileNotFoundError, "the path is empty"), ("none.mp4", FileNotFoundError, "there is no 'none.mp4'"),
     ("https://a.b/c.mp4", UnsafePath, "addresses are not fetched")],
)  # fmt: skip
def test_paths_that_lead_nowhere(inputs, path, cause, words):
    with pytest.raises(cause, match=words):
        load(path, VHS_LoadVideoPath)


SHARED = {
    "host": {"host": "127.0.0.1,0.0.0.0"},
    "token": {"auth_token": "a-token-of-some-length"},
    "token, as workers are told of it": {"auth_token": ""},
    "keys": {"auth_keys": Path("keys.toml")},
    "name": {"allowed_hosts": ("weft.example.org",)},
}


@pytest.mark.parametrize("way", ["environment", *SHARED])
def test_servers_for_others_read_their_own_folders_only(place, inputs, tmp_path_factory, monkeypatch, way):
    outside = tmp_path_factory.mktemp("private")
    (outside / "clip.mp4").write_bytes((inputs / "clip.mp4").read_bytes())
    (inputs / "link.mp4").symlink_to(outside / "clip.mp4")
    assert len(load(str(outside / "clip.mp4"), VHS_LoadVideoPath)[0]) == 8
    if way in SHARED:
        place.settings = dataclasses.replace(place.settings, **SHARED[way])
    else:
        monkeypatch.setenv("VHS_STRICT_PATHS", "1")
    for path in (str(outside / "clip.mp4"), "link.mp4", f"input/../../{outside.name}/clip.mp4", str(outside / "none")):
        with pytest.raises(UnsafePath, match="is outside the input, output and temp folders"):
            load(path, VHS_LoadVideoPath)
    assert len(load("clip.mp4", VHS_LoadVideoPath)[0]) == 8


# ---------------------------------------------------------------- pictures


@pytest.fixture
def folder(place):
    """A folder of pictures in the input folder: two of one size, one of another, one without a picture's ending."""
    here = place.folders.root("input") / "shots"
    here.mkdir()
    Image.new("RGB", (8, 4), (255, 0, 0)).save(here / "b.png")
    Image.new("RGB", (8, 4), (0, 255, 0)).save(here / "a.jpg", quality=100)
    Image.new("RGBA", (16, 16), (0, 0, 255, 51)).save(here / "c.PNG")
    (here / "d.txt").write_text("no picture")
    return here


@pytest.mark.parametrize("node", [VHS_LoadImages, VHS_LoadImagesPath])
def test_pictures_of_a_folder(folder, node):
    images, masks, count = node().load_images("shots")
    assert (tuple(images.shape), tuple(masks.shape), count) == ((3, 4, 8, 3), (3, 4, 8), 3)
    assert images[:, 2, 4].argmax(-1).tolist() == [1, 0, 2]
    assert masks[:, 0, 0].tolist() == pytest.approx([0.0, 0.0, 0.8])


@pytest.mark.parametrize(
    ("asked", "channels"),
    [({"skip_first_images": 1, "image_load_cap": 1}, [0]), ({"select_every_nth": 2}, [1, 2])],
)
def test_some_pictures(folder, asked, channels):
    images, _, count = VHS_LoadImages().load_images("shots", **asked)
    assert (images[:, 2, 4].argmax(-1).tolist(), count) == (channels, len(channels))


def test_pictures_without_alpha_have_empty_masks(folder):
    assert tuple(VHS_LoadImages().load_images("shots", image_load_cap=2)[1].shape) == (2, 64, 64)


def test_folders_are_listed_but_for_the_clients_own(place, folder):
    for name in ("clipspace", "empty"):
        (folder.parent / name).mkdir()
    (folder.parent / "file.png").touch()
    found = describe("VHS_LoadImages", VHS_LoadImages).input("directory")
    assert listed(found.choices, place.folders) == ["empty", "shots"]


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("empty", {}, "of the 0 pictures in empty"),
        ("shots", {"skip_first_images": 9}, "of the 3 pictures in shots"),
        ("none", {}, "none is no folder"),
        ("shots", {"meta_batch": MetaBatch(frames=2, number=2, series="x")}, "of the 3 pictures in shots"),
    ],
)
def test_folders_without_pictures_are_said(folder, name, asked, words):
    (folder.parent / "empty").mkdir()
    with pytest.raises(NodeInputError, match=words):
        VHS_LoadImages().load_images(name, **asked)


def test_folder_may_not_lie_elsewhere(folder):
    with pytest.raises(UnsafePath):
        VHS_LoadImages().load_images("../output")


def test_damaged_picture_of_a_folder_is_named(folder):
    (folder / "e.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"'directory': cannot identify image file 'e\.png'"):
        VHS_LoadImages().load_images("shots")


def test_changed_folder_is_loaded_again(folder):
    before = VHS_LoadImages.IS_CHANGED("shots")
    (folder / "b.png").unlink()
    assert VHS_LoadImages.IS_CHANGED("shots") != before
    assert VHS_LoadImagesPath.IS_CHANGED("shots") == VHS_LoadImages.IS_CHANGED("shots")


def test_picture_by_path(folder):
    image, mask = VHS_LoadImagePath().load_image("shots/c.PNG", custom_width=4)
    assert (tuple(image.shape), tuple(mask.shape)) == ((1, 4, 4, 3), (1, 4, 4))
    assert VHS_LoadImagePath.IS_CHANGED("shots/c.PNG") != VHS_LoadImagePath.IS_CHANGED("shots/b.png")


# ---------------------------------------------------------------- sound


@pytest.mark.parametrize(
    ("node", "asked", "seconds"),
    [(VHS_LoadAudio, {}, 1.0), (VHS_LoadAudio, {"seek_seconds": 0.5}, 0.5),
     (VHS_LoadAudioUpload, {"duration": 0.2}, 0.2), (VHS_LoadAudioUpload, {"start_time": 0.75, "duration": 9.0}, 0.25)],
)  # fmt: skip
def test_sound_by_path_and_choice(place, node, asked, seconds):
    path = place.folders.root("input") / "t.flac"
    write_sound(path, tone(1.0)["waveform"][0], 44100, "flac", "", {})
    audio, duration = node().load_audio("t.flac", **asked)
    assert duration == audio["waveform"].shape[-1] / 44100 == pytest.approx(seconds, abs=1e-4)
    assert node.IS_CHANGED("t.flac")


# ---------------------------------------------------------------- numbers, files, lists


def test_numbers_of_a_video(inputs):
    info = load(select_every_nth=2)[3]
    source, loaded = VHS_VideoInfoSource().get_video_info(info), VHS_VideoInfoLoaded().get_video_info(info)
    assert VHS_VideoInfo().get_video_info(info) == source + loaded
    assert loaded == (4.0, 4, 1.0, 64, 48)
    assert VHS_VideoInfo.RETURN_NAMES[4:6] == ("source_height", "loaded_fps")


def test_one_of_the_files():
    names = (True, ["a.png", "a.mp4"])
    assert VHS_SelectFilename().select_filename(names, -1) == ("a.mp4",)
    with pytest.raises(NodeInputError, match="there are 2 files; 2 names none"):
        VHS_SelectFilename().select_filename(names, 2)


@pytest.mark.parametrize(
    ("options", "left"), [("Intermediate", [True, False, True]), ("Intermediate and Utility", [False, False, True])]
)
def test_files_on_the_way_are_deleted(place, options, left):
    output = place.folders.root("output")
    paths = [output / name for name in ("a.png", "a.mp4", "a-audio.mp4")]
    for path in paths:
        path.touch()
    VHS_PruneOutputs().prune_outputs((True, [str(path) for path in paths]), options)
    assert [path.exists() for path in paths] == left


def test_nothing_elsewhere_is_deleted(place, tmp_path):
    kept = tmp_path / "input" / "mine.mp4"
    kept.touch()
    around = str(place.folders.root("output") / ".." / "input" / kept.name)
    with pytest.raises(NodeInputError, match="it stays"):
        VHS_PruneOutputs().prune_outputs((True, ["a", around, "z"]), "Intermediate")
    assert kept.exists()


def test_lists_become_one_batch():
    unbatch = VHS_Unbatch().unbatch
    assert unbatch([torch.zeros(2, 3), torch.ones(1, 3)])[0].shape == (3, 3)
    assert unbatch([{"samples": torch.zeros(2, 3)}, {"samples": torch.ones(1, 3)}])[0]["samples"].shape == (3, 3)
    assert unbatch([[1], [2, 3]]) == ([1, 2, 3],)
    with pytest.raises(NodeInputError, match="int cannot be joined"):
        unbatch([5])


# ---------------------------------------------------------------- batches


def run(name, **inputs):
    cls = REGISTRY.get(name)[1]
    return getattr(cls(), cls.FUNCTION)(**inputs)


KINDS = [("Image", "images", torch.arange(6.0).reshape(6, 1, 1, 1)),
         ("Mask", "mask", torch.arange(6.0).reshape(6, 1, 1)),
         ("Latent", "latents", {"samples": torch.arange(6.0).reshape(6, 1, 1, 1)})]  # fmt: skip


def flat(batch):
    return (batch["samples"] if isinstance(batch, dict) else batch).flatten().tolist()


@pytest.mark.parametrize(("kind", "field", "batch"), KINDS)
def test_batches_of_every_kind(kind, field, batch):
    before, n, after, m = run(f"VHS_Split{kind}s", **{field: batch}, split_index=-2)
    assert (flat(before), n, flat(after), m) == ([0, 1, 2, 3], 4, [4, 5], 2)
    assert run(f"VHS_Get{kind}Count", **{field: batch}) == (6,)
    picked, n = run(f"VHS_SelectEveryNth{kind}", **{field: batch}, select_every_nth=2, skip_first=1)
    assert (flat(picked), n) == ([1, 3, 5], 3)
    repeated, n = run(f"VHS_Duplicate{kind}s", **{field: before}, multiply_by=2)
    assert (flat(repeated), n) == ([0, 1, 2, 3] * 2, 8)
    assert flat(run(f"VHS_Select{kind}s", **{field: batch}, indexes="1,-1")[0]) == [1, 5]
    joined, n = run(f"VHS_Merge{kind}s", **{f"{field}_A": before, f"{field}_B": after},
                    merge_strategy="match A", scale_method="bilinear", crop="disabled")  # fmt: skip
    assert (flat(joined), n) == ([0, 1, 2, 3, 4, 5], 6)


def test_types_of_batch_nodes():
    entry = REGISTRY.wire_templates()["VHS_SplitLatents"]
    assert (entry["output"], entry["output_name"]) == (
        ["LATENT", "INT", "LATENT", "INT"], ["LATENT_A", "A_count", "LATENT_B", "B_count"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("VHS_SelectImages", {"images": torch.zeros(2, 1, 1, 3), "indexes": "5:9"}, "picks nothing of 2"),
        ("VHS_DuplicateImages", {"images": torch.zeros(2, 1, 1, 3), "multiply_by": 10**9}, "100000 are the most"),
        ("VHS_GetImageCount", {}, "'images': nothing is linked"),
    ],
)
def test_batches_that_cannot_be_are_said(name, inputs, words):
    with pytest.raises(NodeInputError, match=words):
        run(name, **inputs)
