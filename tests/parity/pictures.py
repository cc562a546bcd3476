"""Compares files and pixels: files, preview, formats of latents (in ops_latent), names of tables.json."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from executor import context
from executor.errors import WeftError
from executor.files import Folders
from executor.inference import latent_formats, video_latent_formats
from executor.inference.latent_formats import LatentFormat
from executor.inference.preview import latent_pixels
from executor.inference.samplers import SAMPLER_NAMES
from executor.inference.schedules import DROP_PENULTIMATE, SCHEDULER_NAMES
from executor.settings import Settings
from tests.parity.nodes import call, registry
from tests.parity.recording import Check, Figure, Recording, absolute, exact

LOSSY = 2 / 255 + 1e-6
CHANNELS = ("alpha", "red", "green", "blue")
FORMATS = {
    each.name: each
    for module in (latent_formats, video_latent_formats)
    for each in vars(module).values()
    if isinstance(each, LatentFormat)
}


@dataclass
class Place:
    """What nodes that read and write files ask of a worker."""

    settings: Settings
    folders: Folders
    memory: object = None


@contextmanager
def place() -> Iterator[Folders]:
    """Empty folders, entered as those of the running call."""
    with tempfile.TemporaryDirectory() as base:
        settings = Settings(base_directory=Path(base))
        here = Place(settings=settings, folders=Folders(settings))
        here.folders.create()
        with context.entered(context.RunContext(services=here)):
            yield here.folders


def checks(recording: Recording) -> Iterator[Check]:
    """Every case of these files."""
    for name in recording.cases("files"):
        measure = partial(
            loaded if name.startswith("load/") else SAVED.get(name.split("/")[0], unknown), recording, name
        )
        yield Check(file="files", name=name, measure=measure)
    for number in range(len(recording.described("files").get("save_path", ()))):
        yield Check(file="files", name=f"save_path/{number}", measure=partial(save_path, recording, number))
    for name in recording.cases("preview"):
        yield Check(file="preview", name=name, measure=partial(preview, recording, name))
    for name in sorted({key.split("/")[1] for key in recording.tensors("ops_latent") if key.startswith("format/")}):
        if name in FORMATS:
            yield Check(file="ops_latent", name=f"format/{name}", measure=partial(latent_format, recording, name))
    if recording.described("tables"):
        yield Check(file="tables", name="names", measure=partial(tables, recording))


def unknown(recording: Recording, name: str) -> Iterator[Figure]:
    """A kind of case that nobody knows how to compare: it fails by its name."""
    raise LookupError(f"no comparison knows cases like {name!r} of files")


def loaded(recording: Recording, name: str) -> Iterator[Figure]:
    """Colours, mask and each channel as a mask of a picture file."""
    file = name.removeprefix("load/")
    bound = LOSSY if recording.cases("files")[name]["format"] == "JPEG" else 0.0
    with place() as folders:
        shutil.copy(recording.folder / "g_inputs" / file, folders.root("input") / file)
        image, mask = call("LoadImage", image=file)
        yield absolute("image", image, recording.tensor("files", f"{name}/image"), bound)
        yield absolute("mask", mask, recording.tensor("files", f"{name}/mask"), bound)
        for channel in CHANNELS:
            [mask] = call("LoadImageMask", image=file, channel=channel)
            yield absolute(channel, mask, recording.tensor("files", f"loadmask/{file}/{channel}"), bound)


def shown(node: str, **inputs: object) -> dict[str, Any]:
    """What a saving node tells the client."""
    _, cls = registry().get(node)
    answer = getattr(cls(), cls.FUNCTION)(**inputs)
    return json.loads(json.dumps(answer if isinstance(answer, dict) else {"ui": answer.ui}))


def chunks(path: Path) -> Iterator[tuple[str, bytes]]:
    """The chunks of a PNG file."""
    data, at = path.read_bytes(), 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8].decode(), data[at + 8 : at + 8 + length]
        at += 12 + length


def metadata(recording: Recording) -> dict[str, Any]:
    """The prompt and the rest that were saved with the recorded files."""
    save = recording.cases("files")["save"]
    return {"prompt": save["prompt"], "extra_pnginfo": save["extra_pnginfo"]}


def prefix_of(picture: dict[str, str]) -> str:
    """The prefix that a file name was made of."""
    name = picture["filename"].rsplit("_", 2)[0]
    return f"{picture['subfolder']}/{name}" if picture["subfolder"] else name


def saved(recording: Recording, name: str) -> Iterator[Figure]:
    """Pixels, name and text chunks of a saved picture."""
    case = recording.cases("files")["save"]
    with place() as folders:
        prefix = prefix_of(case["ui"]["images"][0])
        told = shown(
            "SaveImage", images=recording.tensor("files", "save/values"), filename_prefix=prefix, **metadata(recording)
        )
        yield exact("ui", told["ui"], case["ui"])
        path = folders.root("output") / case["ui"]["images"][0]["filename"]
        with Image.open(path) as picture:
            pixels = torch.from_numpy(np.array(picture)).to(torch.uint8)
        yield absolute("pixels", pixels, recording.tensor("files", "save/pixels").to(torch.uint8), 0.0)
        texts = [body.decode("latin-1") for kind, body in chunks(path) if kind == "tEXt"]
        yield exact("chunks", texts, [chunk[2] for chunk in case["chunks"] if chunk[0] == "tEXt"])


def saved_mode(recording: Recording, name: str) -> Iterator[Figure]:
    """The mode of a picture of four channels."""
    case = recording.cases("files")[name]
    with place() as folders:
        told = shown("SaveImage", images=torch.zeros(1, 2, 2, 4), filename_prefix=prefix_of(case["ui"]["images"][0]))
        yield exact("ui", told["ui"], case["ui"])
        with Image.open(folders.root("output") / case["ui"]["images"][0]["filename"]) as picture:
            yield exact("mode", picture.mode, case["mode"])


def saved_batch(recording: Recording, name: str) -> Iterator[Figure]:
    """Names with the place in the batch."""
    case = recording.cases("files")[name]["ui"]
    with place():
        images = torch.zeros(len(case["images"]), 2, 2, 3)
        letters = prefix_of(case["images"][0]).rstrip("0123456789")
        yield exact("ui", shown("SaveImage", images=images, filename_prefix=f"{letters}%batch_num%")["ui"], case)


def saved_twice(recording: Recording, name: str) -> Iterator[Figure]:
    """Names go on counting in a folder."""
    case = recording.cases("files")[name]
    with place():
        for part in ("first", "second"):
            pictures = case[part]["images"]
            images = torch.zeros(len(pictures), 2, 2, 3)
            found = shown("SaveImage", images=images, filename_prefix=prefix_of(pictures[0]))
            yield exact(part, found["ui"], case[part])


def saved_latent(recording: Recording, name: str) -> Iterator[Figure]:
    """The layout of a latent file."""
    case = recording.cases("files")[name]
    samples, file = recording.tensor("files", "latent/in"), case["ui"]["latents"][0]
    with place() as folders:
        told = shown("SaveLatent", samples={"samples": samples}, filename_prefix=prefix_of(file), **metadata(recording))
        yield exact("ui", told["ui"], case["ui"])
        with safe_open(folders.root("output") / file["subfolder"] / file["filename"], "pt") as written:
            yield exact("tensors", sorted(written.keys()), sorted(case["tensors"]))
            yield exact("metadata", written.metadata(), case["metadata"])
            yield absolute("samples", written.get_tensor("latent_tensor"), samples, 0.0)


def loaded_latent(recording: Recording, name: str) -> Iterator[Figure]:
    """Latent files of today and of old."""
    files = {"new": recording.folder / recording.cases("files")["save_latent"]["file"]}
    files["old"] = recording.folder / "g_inputs" / "old.latent"
    with place() as folders:
        for age, path in files.items():
            shutil.copy(path, folders.root("input") / f"{age}.latent")
            [latent] = call("LoadLatent", latent=f"{age}.latent")
            yield absolute(age, latent["samples"], recording.tensor("files", f"latent/loaded_{age}"), 1e-6)


def animated(recording: Recording, name: str) -> Iterator[Figure]:
    """Frames, times and metadata of an animation."""
    case, frames = recording.cases("files")[name], recording.tensor("files", "anim/frames")
    file = case["ui"]["images"][0]
    with place() as folders:
        path = folders.root("output") / file["filename"]
        if "inputs" in case:
            given = {"images": frames, "filename_prefix": prefix_of(file), **metadata(recording), **case["inputs"]}
            yield exact("ui", shown("SaveAnimatedWEBP", **given)["ui"], case["ui"])
            with Image.open(path) as picture:
                yield exact("frames", (picture.n_frames, picture.info["loop"]), (case["n_frames"], case["loop"]))
                yield exact("exif", {hex(tag): text for tag, text in picture.getexif().items()}, case["exif"])
        else:
            given = {"fps": 12.0, "compress_level": 4, "prompt": {"a": 1}, "extra_pnginfo": {"workflow": {"b": 2}}}
            told = shown("SaveAnimatedPNG", images=frames, filename_prefix=prefix_of(file), **given)
            yield exact("ui", told["ui"], case["ui"])
            kinds = [kind for kind, _ in chunks(path)]
            yield exact("chunks", kinds, [chunk[0] for chunk in case["chunks"]])
        pixels, durations = frames_of(path)
        yield exact("durations", durations, case.get("durations", durations))
        recorded = recording.tensor("files", f"{name}/pixels")
        yield absolute("pixels", pixels.to(recorded.dtype)[..., : recorded.shape[-1]], recorded, 0.0)


def frames_of(path: Path) -> tuple[Tensor, list[int]]:
    """The frames [F, H, W, C] of a file and how long each is shown, in ms."""
    frames, durations = [], []
    with Image.open(path) as picture:
        for index in range(picture.n_frames):
            picture.seek(index)
            frames.append(torch.from_numpy(np.array(picture.convert("RGBA"))))
            durations.append(picture.info["duration"])
    return torch.stack(frames), durations


def save_path(recording: Recording, number: int) -> Iterator[Figure]:
    """The name that a file gets in a folder, or that it gets none."""
    case = recording.described("files")["save_path"][number]
    with place() as folders:
        root = folders.root("output")
        for name in case["existing"]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        try:
            found = folders.next_name(case["prefix"], root, case.get("width", 0), case.get("height", 0))
        except WeftError:
            yield exact("refused", "error" in case, True)
            return
        got = (str(found.folder.relative_to(root)), found.stem, found.counter, found.subfolder, found.prefix)
        keys = ("folder", "filename", "counter", "subfolder", "prefix_after")
        yield exact("name", got, tuple(case.get(key) for key in keys))


def preview(recording: Recording, name: str) -> Iterator[Figure]:
    """Preview pixels by the linear factors of a latent format."""
    known = recording.known("tables")["latent_formats"][name]
    made = LatentFormat(
        name=name,
        channels=known["channels"],
        scale_factor=known["scale_factor"],
        rgb_factors=tuple(tuple(row) for row in known["rgb_factors"]),
        rgb_bias=tuple(known.get("rgb_bias", (0.0, 0.0, 0.0))),
    )
    pixels = latent_pixels(recording.tensor("preview", f"{name}/latent"), made)
    yield absolute("pixels", pixels.int(), recording.tensor("preview", f"{name}/pixels").int(), 1.0)


def latent_format(recording: Recording, name: str) -> Iterator[Figure]:
    """Latents brought into a network's scale and back."""
    part = partial(recording.tensor, "ops_latent")
    given, ours = part(f"format/{name}/in"), FORMATS[name]
    yield absolute("process_in", ours.process_in(given), part(f"format/{name}/process_in"), 1e-5)
    yield absolute("process_out", ours.process_out(given), part(f"format/{name}/process_out"), 1e-5)


def tables(recording: Recording) -> Iterator[Figure]:
    """Names of samplers and schedulers in their order."""
    known = recording.described("tables")
    yield exact("samplers", list(SAMPLER_NAMES), known["sampler_names"])
    yield exact("schedulers", list(SCHEDULER_NAMES), known["scheduler_names"])
    yield exact("drop a level", DROP_PENULTIMATE, set(known["samplers_that_drop_the_penultimate_sigma"]))


SAVED = {
    "save": saved,
    "save_rgba": saved_mode,
    "batch_num": saved_batch,
    "twice": saved_twice,
    "save_latent": saved_latent,
    "load_latent": loaded_latent,
    "anim": animated,
}
