"""Nodes that load, save and show pictures. Know no models."""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, ClassVar

from PIL import Image as PilImage

from executor import context
from executor.files import BATCH_TOKEN, Folders, SaveName
from executor.inference.pixels import to_bytes, to_pil
from executor.inference.png import Bytes
from executor.inference.values import Image, Mask
from executor.wholefile import Record
from nodes.builtin.inputs import PNG_HIDDEN, InputTypes, choice, files, socket, text
from nodes.builtin.picture_files import (
    Saved,
    channels,
    encoded_pngs,
    metadata_texts,
    opened,
    output_root,
    png_metadata,
    read_pictures,
    upright,
    write_atomically,
)
from nodes.builtin.services import attempt, check_input_file, file_hash, input_path, services

Shown = dict[str, dict[str, list[Saved]]]


class SaveImage:
    """Saves pictures in the output folder, with the prompt that made them.

    Packs derive from it and set `output_dir`, `type`, `prefix_append` and `compress_level`.
    """

    DISPLAY_NAME = "Save Image"
    CATEGORY = "image"
    DESCRIPTION = "Saves pictures as PNG files in the output folder."
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    def __init__(self) -> None:
        self.output_dir: str | None = None  # None: the folder of `type`
        self.type = "output"
        self.prefix_append = ""
        self.compress_level = 4

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        prefix = text(
            default="ComfyUI",
            tooltip="How file names begin. %width%, %height%, %year% … are filled in; a slash makes folders.",
        )
        return {
            "required": {"images": socket("IMAGE", "The pictures to save."), "filename_prefix": prefix},
            "hidden": dict(PNG_HIDDEN),
        }

    @context.finishing_later
    def save_images(
        self,
        images: Image,
        filename_prefix: str = "ComfyUI",
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> Shown:
        """Write every picture under the next free number; UnsafePath when the prefix leaves the folder."""
        root = output_root(self.type, self.output_dir)
        folders = services().folders
        name = self._place(filename_prefix + self.prefix_append, root, images)
        info = png_metadata(metadata_texts(prompt, extra_pnginfo))
        stems = (name.stem.replace(BATCH_TOKEN, str(number)) for number in range(len(images)))
        paths = [name.folder / f"{stem}_{name.counter + number:05}_.png" for number, stem in enumerate(stems)]
        encoded = partial(encoded_pngs, info=info, compress_level=self.compress_level)
        write = partial(_write, paths, encoded, folders, attempt())

        def writing() -> Callable[[], None]:
            pixels = [to_bytes(image) for image in images]
            folders.promise(paths)
            return partial(write, pixels)

        if not context.current().finish_later(writing, images.numel()):
            write(images)
        saved = [{"filename": path.name, "subfolder": name.subfolder, "type": self.type} for path in paths]
        return {"ui": {"images": saved}}

    def _place(self, prefix: str, root: Path, images: Image) -> SaveName:
        """Where these pictures go: under the number after the highest that is there."""
        height, width = images.shape[1:3]
        return services().folders.next_name(prefix, root, width, height, count=len(images))


def _write(
    paths: Sequence[Path],
    encoded: Callable[[Image | Sequence[Bytes]], Iterator[bytes]],
    folders: Folders,
    record: Record | None,
    pictures: Image | Sequence[Bytes],
) -> None:
    """Write pictures to these files, whose names are promised until then."""
    try:
        for path, png in zip(paths, encoded(pictures), strict=True):
            write_atomically(path, partial(_written, png), record)
    finally:
        folders.keep(paths)


def _written(data: bytes, file: BinaryIO) -> None:
    file.write(data)


class PreviewImage(SaveImage):
    """Shows pictures, which are kept in the temp folder."""

    DISPLAY_NAME = "Preview Image"
    DESCRIPTION = "Shows pictures without keeping them."
    _own = ""  # what only the names of this instance have
    _next: SaveName | None = None

    def __init__(self) -> None:
        super().__init__()
        self.type = "temp"
        self._own = "_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))
        self.prefix_append = self._own
        self.compress_level = 1

    def _place(self, prefix: str, root: Path, images: Image) -> SaveName:
        """Where these pictures go; names of its own are counted here: the folder may hold thousands of others."""
        place = self._next
        if place is None or not (self._own and prefix.endswith(self._own)) or not _goes_on(place, prefix, root):
            place = super()._place(prefix, root, images)
        self._next = place._replace(counter=place.counter + len(images))
        return place

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"images": socket("IMAGE")}, "hidden": dict(PNG_HIDDEN)}


def _goes_on(place: SaveName, prefix: str, root: Path) -> bool:
    """Tell whether a place is still right: in the folder itself, which is there, and free."""
    same = (place.folder, place.prefix) == (root, prefix) and os.path.isdir(root)
    return same and not os.path.lexists(os.path.join(root, f"{place.stem}_{place.counter:05}_.png"))


@dataclass(frozen=True, slots=True)
class _FullPicture:
    """A preview that is sent whole and without loss."""

    tensor: Image  # [H, W, C]
    lossless: bool = True

    def image(self) -> PilImage.Image:
        return to_pil(self.tensor)


class SaveImageWebsocket:
    """Sends pictures to the client as binary websocket messages instead of saving them."""

    PACK = "custom_nodes.websocket_image_save"
    CATEGORY = "api/image"
    DESCRIPTION = "Sends pictures over the websocket; nothing is written to disk."
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"images": socket("IMAGE")}}

    @classmethod
    def IS_CHANGED(cls, images: object) -> float:
        """Always new, so that every prompt sends its pictures."""
        return float("nan")

    def save_images(self, images: Image) -> dict[str, object]:
        """One progress step per picture, the picture being its preview."""
        here = context.current()
        for number, image in enumerate(images, start=1):
            here.progress(number, len(images), _FullPicture(image))
        return {}


class LoadImage:
    """Loads a picture of the input folder."""

    DISPLAY_NAME = "Load Image"
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"
    FILE_CHECKS: ClassVar[dict[str, str]] = {"image": "image"}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"image": files("input", content="image", image_upload=True)}}

    def load_image(self, image: str) -> tuple[Image, Mask]:
        """The picture, frame by frame, and 1 - alpha; PIL.UnidentifiedImageError when the file is no picture."""
        path = input_path(image, "image")
        with opened(path, image, "image") as picture:
            return read_pictures(picture)

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        """The hash of the file, so that a changed file is loaded again."""
        return file_hash(input_path(image, "image"))

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        """True, or what is wrong; the server answers this by itself (FILE_CHECKS)."""
        return check_input_file(image, "image")


class LoadImageMask:
    """Loads one channel of a picture as a mask."""

    DISPLAY_NAME = "Load Image (as Mask)"
    CATEGORY = "mask"
    RETURN_TYPES = ("MASK",)
    FUNCTION = "load_image"
    FILE_CHECKS: ClassVar[dict[str, str]] = {"image": "image"}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "image": files("input", image_upload=True),
                "channel": choice(["alpha", "red", "green", "blue"]),
            }
        }

    def load_image(self, image: str, channel: str) -> tuple[Mask]:
        """The channel [1, H, W]; alpha is turned over (1 = transparent)."""
        path = input_path(image, "image")
        with opened(path, image, "image") as picture:
            values = channels(upright(picture).convert("RGBA").getchannel(channel[0].upper()))
        return ((1.0 - values if channel == "alpha" else values).unsqueeze(0),)

    @classmethod
    def IS_CHANGED(cls, image: str, channel: str) -> str:
        """The hash of the file, so that a changed file is loaded again."""
        return file_hash(input_path(image, "image"))

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        """True, or what is wrong; the server answers this by itself (FILE_CHECKS)."""
        return check_input_file(image, "image")


class LoadImageOutput(LoadImage):
    """Loads a picture of the output folder."""

    DISPLAY_NAME = "Load Image (from Outputs)"
    DESCRIPTION = "Loads a picture from the output folder; the button reads the list of files again."
    EXPERIMENTAL = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        remote = {"route": "/internal/files/output", "refresh_button": True, "control_after_refresh": "first"}
        options = {"image_upload": True, "image_folder": "output", "remote": remote}
        return {"required": {"image": ("COMBO", options)}}


NODES = (SaveImage, PreviewImage, SaveImageWebsocket, LoadImage, LoadImageMask, LoadImageOutput)
