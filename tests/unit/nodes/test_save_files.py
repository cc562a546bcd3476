"""Saving nodes write what was recorded: values, names, metadata (reference/numeric, files)."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from executor import context
from executor.errors import NodeInputError, UnsafePath
from nodes.builtin.animation import SaveAnimatedPNG, SaveAnimatedWEBP
from nodes.builtin.image_io import PreviewImage, SaveImage
from nodes.builtin.latent_io import SaveLatent
from nodes.builtin.mask import MaskPreview
from tests.maths.recordings import cases
from tests.unit.nodes.recorded import tensors

CASES = cases("files")
PROMPT, EXTRA = CASES["save"]["prompt"], CASES["save"]["extra_pnginfo"]
ANIMATIONS = ("anim/webp_lossless", "anim/webp_fps12.5")


def names(shown):
    return [picture["filename"] for picture in shown["ui"]["images"]]


def chunks(path):
    data, at = path.read_bytes(), 8
    while at < len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8].decode()
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


@pytest.fixture
def saved(place):
    """The file of the recorded save."""
    shown = SaveImage().save_images(tensors("files")["save/values"], "round", PROMPT, EXTRA)
    assert shown == {"ui": CASES["save"]["ui"]}
    return place.folders.root("output") / "round_00001_.png"


def test_values_are_cut_not_rounded(saved):
    with Image.open(saved) as picture:
        pixels = torch.from_numpy(np.array(picture))
    assert torch.equal(pixels, tensors("files")["save/pixels"].to(torch.uint8))


def test_metadata_stands_in_text_chunks_in_order(saved):
    texts = [body.decode("latin-1") for kind, body in chunks(saved) if kind == "tEXt"]
    assert texts == [chunk[2] for chunk in CASES["save"]["chunks"] if chunk[0] == "tEXt"]


def test_metadata_can_be_switched_off(place):
    place.settings = dataclasses.replace(place.settings, disable_metadata=True)
    SaveImage().save_images(torch.zeros(1, 2, 2, 3), "bare", PROMPT, EXTRA)
    kinds = {kind for kind, _ in chunks(place.folders.root("output") / "bare_00001_.png")}
    assert "tEXt" not in kinds


def test_four_channels_give_rgba(place):
    SaveImage().save_images(torch.zeros(1, 2, 2, 4), "rgba")
    with Image.open(place.folders.root("output") / "rgba_00001_.png") as picture:
        assert picture.mode == "RGBA"


def test_batch_number_is_filled_in(place):
    shown = SaveImage().save_images(torch.zeros(3, 2, 2, 3), "b%batch_num%")
    assert shown == {"ui": CASES["batch_num"]["ui"]}


def test_counter_goes_on_in_a_folder(place):
    first = SaveImage().save_images(torch.zeros(2, 2, 2, 3), "sub/n")
    second = SaveImage().save_images(torch.zeros(2, 2, 2, 3), "sub/n")
    assert [first, second] == [{"ui": CASES["twice"]["first"]}, {"ui": CASES["twice"]["second"]}]


def test_prefix_may_not_leave_the_folder(place):
    with pytest.raises(UnsafePath):
        SaveImage().save_images(torch.zeros(1, 2, 2, 3), "../evil")


def test_nothing_half_written_stays_after_a_failure(place, monkeypatch):
    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        SaveImage().save_images(torch.zeros(1, 2, 2, 3), "lost")
    assert list(place.folders.root("output").iterdir()) == []


def test_preview_goes_to_temp_under_a_random_name(place):
    (name,) = names(PreviewImage().save_images(torch.zeros(1, 2, 2, 3)))
    assert re.fullmatch(r"ComfyUI_temp_[a-z]{5}_00001_\.png", name)
    assert (place.folders.root("temp") / name).is_file()


def test_a_preview_counts_its_own_names_without_listing_the_folder(place, monkeypatch):
    preview, picture = PreviewImage(), torch.zeros(2, 2, 2, 3)
    saved = names(preview.save_images(picture))
    monkeypatch.setattr(os, "listdir", lambda folder: pytest.fail("a folder was listed"))
    saved += names(preview.save_images(picture))
    assert [name[-10:-5] for name in saved] == ["00001", "00002", "00003", "00004"]


def test_a_preview_takes_no_name_that_is_taken(place):
    preview, picture = PreviewImage(), torch.zeros(1, 2, 2, 3)
    (first,) = names(preview.save_images(picture))
    taken = place.folders.root("temp") / first.replace("00001", "00002")
    taken.write_bytes(b"mine")
    (second,) = names(preview.save_images(picture))
    assert (second[-10:-5], taken.read_bytes()) == ("00003", b"mine")


def test_a_preview_makes_its_folder_anew(place):
    preview, picture = PreviewImage(), torch.zeros(1, 2, 2, 3)
    preview.save_images(picture)
    shutil.rmtree(place.folders.root("temp"))
    (name,) = names(preview.save_images(picture))
    assert (place.folders.root("temp") / name).is_file()


def test_a_preview_with_another_classes_names_looks_for_the_next_one(place):
    class Shared(PreviewImage):
        def __init__(self):
            super().__init__()
            self.prefix_append = "_shared"

    picture = torch.zeros(1, 2, 2, 3)
    one, other = Shared(), Shared()
    saved = [names(node.save_images(picture))[0] for node in (one, other, one)]
    assert saved == [f"ComfyUI_shared_{number:05}_.png" for number in (1, 2, 3)]


def test_mask_preview_is_grey(place):
    (name,) = names(MaskPreview().execute(torch.full((1, 2, 2), 0.5)))
    with Image.open(place.folders.root("temp") / name) as picture:
        assert picture.getpixel((0, 0)) == (127, 127, 127)


def test_derived_class_chooses_its_folder(place, tmp_path):
    class Elsewhere(SaveImage):
        def __init__(self):
            super().__init__()
            self.output_dir = str(tmp_path / "elsewhere")

    Elsewhere().save_images(torch.zeros(1, 2, 2, 3), "x")
    assert (tmp_path / "elsewhere" / "x_00001_.png").is_file()


def test_latent_file_holds_tensor_version_and_metadata(place):
    samples = tensors("files")["latent/in"]
    shown = SaveLatent().save({"samples": samples}, "latents/x", PROMPT, EXTRA)
    assert shown == {"ui": CASES["save_latent"]["ui"]}
    with safe_open(place.folders.root("output") / "latents" / "x_00001_.latent", "pt") as file:
        assert sorted(file.keys()) == sorted(CASES["save_latent"]["tensors"])
        assert file.metadata() == CASES["save_latent"]["metadata"]
        assert torch.equal(file.get_tensor("latent_tensor"), samples)


@pytest.mark.parametrize("case", ANIMATIONS)
def test_animated_webp(place, case):
    recorded = CASES[case]
    prefix = case.removeprefix("anim/")
    frames = tensors("files")["anim/frames"]
    shown = SaveAnimatedWEBP().save_images(
        frames, filename_prefix=prefix, prompt=PROMPT, extra_pnginfo=EXTRA, **recorded["inputs"]
    )
    assert json.loads(json.dumps(shown)) == {"ui": recorded["ui"]}
    with Image.open(place.folders.root("output") / f"{prefix}_00001_.webp") as picture:
        assert (picture.n_frames, picture.info["loop"]) == (recorded["n_frames"], recorded["loop"])
        assert {hex(tag): text for tag, text in picture.getexif().items()} == recorded["exif"]
        durations = []
        for index in range(picture.n_frames):
            picture.seek(index)
            picture.load()
            durations.append(picture.info["duration"])
    assert durations == recorded["durations"]


def test_animated_png_chunks(place):
    shown = SaveAnimatedPNG().save_images(
        tensors("files")["anim/frames"], 12.0, 4, "apng", {"a": 1}, {"workflow": {"b": 2}}
    )
    assert json.loads(json.dumps(shown)) == {"ui": CASES["anim/apng"]["ui"]}
    written = [[kind, len(body)] for kind, body in chunks(place.folders.root("output") / "apng_00001_.png")]
    assert [kind for kind, _ in written] == [chunk[0] for chunk in CASES["anim/apng"]["chunks"]]


def test_metadata_of_no_prompt_is_empty(place):
    SaveImage().save_images(torch.zeros(1, 2, 2, 3), "none")
    with Image.open(place.folders.root("output") / "none_00001_.png") as picture:
        assert picture.info == {}
    assert context.current().services is place


@pytest.mark.parametrize("save", [
    lambda: SaveAnimatedWEBP().save_images(torch.zeros(0, 2, 2, 3), 6.0, "x", True, 80, "default"),
    lambda: SaveAnimatedPNG().save_images(torch.zeros(0, 2, 2, 3), 6.0, 4, "x"),
])  # fmt: skip
def test_animation_of_nothing_is_refused(place, save):
    with pytest.raises(NodeInputError, match="there are no pictures"):
        save()


def test_frames_of_an_animation_follow_each_other(place):
    images = torch.linspace(0, 1, 5).reshape(5, 1, 1, 1).expand(5, 4, 4, 3)
    SaveAnimatedPNG().save_images(images, 10.0, 4, "grey")
    with Image.open(place.folders.root("output") / "grey_00001_.png") as picture:
        seen = []
        for number in range(picture.n_frames):
            picture.seek(number)
            seen.append(picture.convert("RGB").getpixel((0, 0))[0])
    assert seen == [0, 63, 127, 191, 255]


class Desk:
    """Takes over all work and keeps it."""

    def __init__(self):
        self.works = []

    def take(self, make, nbytes):
        self.works.append(make())
        return True


@pytest.fixture
def desk(place):
    desk = Desk()
    with context.entered(msgspec.structs.replace(context.current(), services=place, later=desk)):
        yield desk


def test_files_that_are_written_later_are_named_at_once(place, desk):
    shown = [SaveImage().save_images(torch.zeros(2, 2, 2, 3), "sub/n") for _ in range(2)]
    assert shown == [{"ui": CASES["twice"]["first"]}, {"ui": CASES["twice"]["second"]}]
    assert list((place.folders.root("output") / "sub").iterdir()) == []
    for work in reversed(desk.works):
        work()
    written = sorted(path.name for path in (place.folders.root("output") / "sub").iterdir())
    assert written == [picture["filename"] for each in shown for picture in each["ui"]["images"]]


def test_a_picture_that_others_change_meanwhile_is_saved_as_it_was(place, desk):
    picture = torch.ones(1, 2, 2, 3)
    (name,) = names(SaveImage().save_images(picture, "a"))
    picture.zero_()
    desk.works[0]()
    with Image.open(place.folders.root("output") / name) as saved:
        assert saved.getpixel((0, 0)) == (255, 255, 255)


def test_a_name_is_free_again_when_its_file_could_not_be_written(place, desk, monkeypatch):
    SaveImage().save_images(torch.ones(1, 2, 2, 3), "a")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        desk.works[0]()
    assert place.folders.next_name("a", place.folders.root("output")).counter == 1
