"""Symbolic links in the data folders: nodes read and write within this server's folders only."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from executor.contract.choices import listed
from executor.contract.definition import FileChoices
from executor.errors import UnsafePath
from executor.files import Folders
from nodes.builtin.animation import SaveAnimatedPNG, SaveAnimatedWEBP
from nodes.builtin.audio_io import LoadAudio, SaveAudio
from nodes.builtin.image_io import LoadImage, LoadImageMask, LoadImageOutput, SaveImage
from nodes.builtin.latent_io import LoadLatent, SaveLatent
from nodes.builtin.picture_folders import VHS_LoadImages, VHS_LoadImagesPath
from nodes.builtin.services import check_input_file
from nodes.builtin.svg import SaveSVGNode
from nodes.builtin.video import LoadVideo
from nodes.builtin.video_combine import VHS_VideoCombine
from nodes.builtin.video_helper import VHS_LoadAudioUpload
from nodes.builtin.video_load import VHS_LoadVideo, VHS_LoadVideoFFmpeg

PICTURE = torch.zeros(1, 4, 4, 3)
SOUND = {"waveform": torch.zeros(1, 1, 800), "sample_rate": 8000}
MASK = "far.png [output]"


@pytest.fixture
def outside(place, tmp_path_factory):
    """A folder of pictures beside the server's, which `far` and `far.png` of input and output lead to."""
    folder = tmp_path_factory.mktemp("outside")
    Image.new("RGB", (4, 4)).save(folder / "secret.png")
    save_file({"latent_tensor": torch.zeros(1, 4, 2, 2)}, folder / "secret.latent")
    for root in ("input", "output"):
        (place.folders.root(root) / "far").symlink_to(folder)
        (place.folders.root(root) / "far.png").symlink_to(folder / "secret.png")
        (place.folders.root(root) / "mixed").mkdir()
        (place.folders.root(root) / "mixed" / "far.png").symlink_to(folder / "secret.png")
    return folder


READERS = {
    "LoadImage": lambda: LoadImage().load_image("far.png"),
    "LoadImage, below": lambda: LoadImage().load_image("far/secret.png"),
    "LoadImage, changed": lambda: LoadImage.IS_CHANGED("far.png"),
    "LoadImage, Windows": lambda: LoadImage().load_image("far\\secret.png"),
    "LoadImageMask": lambda: LoadImageMask().load_image(MASK, "red"),
    "LoadImageOutput": lambda: LoadImageOutput().load_image(MASK),
    "LoadLatent": lambda: LoadLatent().load("far/secret.latent"),
    "LoadAudio": lambda: LoadAudio().load("far.png"),
    "LoadVideo": lambda: LoadVideo().load("far.png"),
    "VHS_LoadVideo": lambda: VHS_LoadVideo().load_video("far.png"),
    "VHS_LoadVideoFFmpeg": lambda: VHS_LoadVideoFFmpeg().load_video("far.png"),
    "VHS_LoadAudioUpload": lambda: VHS_LoadAudioUpload().load_audio("far.png"),
    "VHS_LoadImages": lambda: VHS_LoadImages().load_images("far"),
    "VHS_LoadImages, changed": lambda: VHS_LoadImages.IS_CHANGED("far"),
}
WRITERS = {
    "SaveImage": lambda: SaveImage().save_images(PICTURE, "far/x"),
    "SaveImage, a new folder": lambda: SaveImage().save_images(PICTURE, "far/new/x"),
    "SaveAnimatedPNG": lambda: SaveAnimatedPNG().save_images(PICTURE, 6.0, 4, "far/x"),
    "SaveAnimatedWEBP": lambda: SaveAnimatedWEBP().save_images(PICTURE, 6.0, "far/x", True, 80, "default"),
    "SaveLatent": lambda: SaveLatent().save({"samples": torch.zeros(1, 4, 2, 2)}, "far/x"),
    "SaveAudio": lambda: SaveAudio().save_flac(SOUND, "far/x"),
    "VHS_VideoCombine": lambda: VHS_VideoCombine().combine_video(
        images=PICTURE, frame_rate=8, loop_count=0, filename_prefix="far/x", format="image/gif"
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_nothing_outside_is_read(outside, name):
    with pytest.raises(UnsafePath, match="symbolic link"):
        READERS[name]()


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_outside_is_written(outside, name):
    with pytest.raises(UnsafePath, match="symbolic link"):
        WRITERS[name]()
    assert sorted(path.name for path in outside.iterdir()) == ["secret.latent", "secret.png"]


def test_links_are_followed_where_that_is_asked_for(place, outside):
    place.settings = dataclasses.replace(place.settings, follow_symlinks=True)
    place.folders = Folders(place.settings)
    assert LoadImage().load_image("far.png")[0].shape == (1, 4, 4, 3)
    SaveImage().save_images(PICTURE, "far/x")
    assert (outside / "x_00001_.png").is_file()


def test_links_within_are_followed(place, outside):
    made = place.folders.root("output") / "made.png"
    Image.new("RGB", (6, 2)).save(made)
    (place.folders.root("input") / "near.png").symlink_to(made)
    assert LoadImage().load_image("near.png")[0].shape == (1, 2, 6, 3)


def test_folders_of_pictures_leave_out_those_that_lie_outside(place, outside):
    Image.new("RGB", (6, 2)).save(place.folders.root("input") / "mixed" / "own.png")
    assert VHS_LoadImages().load_images("mixed")[2] == 1
    assert VHS_LoadImagesPath().load_images("mixed")[2] == 1


def test_what_lies_outside_is_neither_offered_nor_taken(place, outside):
    (place.folders.root("input") / "own.png").touch()
    assert listed(FileChoices(source="input", content="image"), place.folders) == ["own.png"]
    assert check_input_file("far.png", "image") == "Invalid image file: far.png"


@pytest.mark.parametrize(
    "prefix",
    ["../x", "/tmp/x", "a/../../x", "..\\x", "C:\\x", "\\\\host\\share\\x", "a\0b", "a\nb", "%year%/../../x", "\ud800"],
)
def test_prefixes_stay_inside(place, prefix):
    with pytest.raises(UnsafePath):
        SaveImage().save_images(PICTURE, prefix)


def test_long_prefixes_are_refused_by_the_system(place):
    with pytest.raises(OSError, match="too long"):
        SaveImage().save_images(PICTURE, "x" * 300)


def test_drawings_are_not_written_outside(place, outside):
    with pytest.raises(UnsafePath, match="symbolic link"):
        SaveSVGNode().save_svg("<svg/>", "far/x")
