"""LoadImage, LoadImageMask and LoadLatent read files as recorded (reference/numeric, files), and say what is wrong."""

from __future__ import annotations

import shutil

import pytest
import safetensors.torch
import torch
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from executor.errors import ModelFileError, NodeInputError, UnsafePath
from nodes.builtin.image_io import LoadImage, LoadImageMask, LoadImageOutput
from nodes.builtin.latent_io import LoadLatent
from tests.unit.nodes.recorded import FOLDER, tensors

INPUTS = FOLDER / "g_inputs"
RECORDED = tensors("files")
LOADED = sorted({key.split("/")[1] for key in RECORDED if key.startswith("load/")})
CHANNELS = ("alpha", "red", "green", "blue")


def put(place, name):
    shutil.copy(INPUTS / name, place.folders.root("input") / name)
    return name


def bound(name):
    return 2 / 255 + 1e-6 if name.endswith(".jpg") or "jpeg" in name else 0.0


def off(actual, expected):
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max())


@pytest.mark.parametrize("name", LOADED)
def test_colours_of_every_format(place, name):
    image, _ = LoadImage().load_image(put(place, name))
    assert off(image, RECORDED[f"load/{name}/image"]) <= bound(name)


@pytest.mark.parametrize("name", LOADED)
def test_mask_of_every_format(place, name):
    _, mask = LoadImage().load_image(put(place, name))
    assert off(mask, RECORDED[f"load/{name}/mask"]) <= bound(name)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("name", LOADED)
def test_channel_as_mask(place, name, channel):
    (mask,) = LoadImageMask().load_image(put(place, name), channel)
    assert off(mask, RECORDED[f"loadmask/{name}/{channel}"]) <= bound(name)


def test_pictures_of_the_output_folder_are_read_by_the_names_its_list_tells(place):
    (place.folders.root("output") / "sub").mkdir()
    shutil.copy(INPUTS / "rgba.png", place.folders.root("output") / "sub" / "made.png")
    put(place, "rgb.png")
    image, mask = LoadImageOutput().load_image("sub/made.png [output]")
    assert torch.equal(image, RECORDED["load/rgba.png/image"])
    assert torch.equal(mask, RECORDED["load/rgba.png/mask"])
    assert LoadImageOutput.VALIDATE_INPUTS("made.png [output]") is not True


def test_annotated_name_reads_another_folder(place):
    shutil.copy(INPUTS / "rgb.png", place.folders.root("output") / "made.png")
    image, _ = LoadImage().load_image("made.png [output]")
    assert torch.equal(image, RECORDED["load/rgb.png/image"])


def test_missing_file_names_input_and_nearest_file(place):
    put(place, "rgb.png")
    with pytest.raises(FileNotFoundError, match=r"'image'.*'rgb1\.png'.*did you mean 'rgb\.png'"):
        LoadImage().load_image("rgb1.png")


def test_file_that_is_no_picture_names_input_and_file(place):
    (place.folders.root("input") / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(UnidentifiedImageError, match=r"'image': cannot identify image file 'broken\.png'"):
        LoadImage().load_image("broken.png")


def test_cut_off_picture_names_input_and_file(place):
    whole = (INPUTS / "rgb.jpg").read_bytes()
    (place.folders.root("input") / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(OSError, match=r"'image'.*'half\.jpg'"):
        LoadImage().load_image("half.jpg")


def test_picture_too_large_to_be_read_names_input_and_file(place, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(OSError, match=r"'image'.*'rgb\.png' is too large"):
        LoadImage().load_image(put(place, "rgb.png"))


def test_name_that_leaves_the_folder_is_refused(place):
    with pytest.raises(UnsafePath):
        LoadImage().load_image("../outside.png")


def test_own_check_speaks_the_clients_words(place):
    assert LoadImage.VALIDATE_INPUTS("gone.png") == "Invalid image file: gone.png"


def test_changed_file_changes_the_fingerprint(place):
    path = place.folders.root("input") / "a.png"
    shutil.copy(INPUTS / "rgb.png", path)
    before = LoadImage.IS_CHANGED("a.png")
    shutil.copy(INPUTS / "rgba.png", path)
    assert LoadImage.IS_CHANGED("a.png") != before


def test_latent_of_today(place):
    shutil.copy(FOLDER / "g_outputs" / "x_00001_.latent", place.folders.root("input") / "new.latent")
    (latent,) = LoadLatent().load("new.latent")
    assert torch.equal(latent["samples"], RECORDED["latent/loaded_new"])


def test_latent_without_version_is_scaled(place):
    (latent,) = LoadLatent().load(put(place, "old.latent"))
    assert off(latent["samples"], RECORDED["latent/loaded_old"]) <= 1e-6


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"hello" * 100, "bad.latent: is a text file, no weights"),
        (safetensors.torch.save({"latent_tensor": torch.zeros(1, 4, 8, 8)})[:-9], "bad.latent: is truncated"),
        (safetensors.torch.save({"other": torch.zeros(4)}), "bad.latent: holds no latents; a file that SaveLatent"),
    ],
    ids=["text", "truncated", "foreign"],
)
def test_a_damaged_or_foreign_latent_is_told_by_name(place, content, told):
    (place.folders.root("input") / "bad.latent").write_bytes(content)
    with pytest.raises(ModelFileError, match=told):
        LoadLatent().load("bad.latent")


def test_frames_that_no_memory_holds_are_refused_before_they_are_read(place, monkeypatch):
    first, *rest = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in range(20)]
    first.save(place.folders.root("input") / "long.gif", save_all=True, append_images=rest)
    monkeypatch.setattr("nodes.builtin.picture_files.SMALL_BYTES", 0)
    monkeypatch.setattr("executor.inference.devices.free_bytes", lambda device: 10 * 64 * 64 * 16)
    with pytest.raises(NodeInputError, match="a file of 11 frames and more of 64 x 64 pixels"):
        LoadImage().load_image("long.gif")


def test_texts_that_unpack_to_megabytes_are_told(place):
    info = PngInfo()
    info.add_text("bomb", "x" * 2_000_000, zip=True)
    Image.new("RGB", (4, 4)).save(place.folders.root("input") / "bomb.png", pnginfo=info)
    with pytest.raises(OSError, match=r"input 'image': cannot read image file 'bomb.png'"):
        LoadImage().load_image("bomb.png")
