"""Nodes that save a batch of pictures as one animated file. Know no models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from PIL import Image as PilImage
from PIL.PngImagePlugin import PngInfo

from executor import context
from executor.errors import NodeInputError
from executor.inference.frames import FrameSequence, Values
from executor.inference.pixels import to_bytes
from executor.inference.values import Image
from nodes.builtin.inputs import PNG_HIDDEN, InputTypes, choice, decimal, flag, integer, socket, text
from nodes.builtin.picture_files import metadata_texts, output_root, write_atomically
from nodes.builtin.services import services

PACK = "comfy_extras.nodes_images"
METHODS = {"default": 4, "fastest": 0, "slowest": 6}  # effort of the WEBP encoder
EXIF_PROMPT, EXIF_EXTRA = 0x0110, 0x010F  # Model; from Make downwards
Animated = dict[str, dict[str, object]]


def _frame_ms(fps: float) -> int:
    return int(1000.0 / fps)


def _frames(images: Image) -> FrameSequence:
    """The frames, each made when it is written; NodeInputError for none."""
    if not len(images):
        raise NodeInputError("input 'images': there are no pictures to make an animation of")
    return FrameSequence(lambda: _values(images), len(images))


def _values(images: Image) -> Iterator[Values]:
    for image in images:
        context.current().check_interrupt()
        values = to_bytes(image)
        yield values[..., 0] if values.shape[-1] == 1 else values


def _shown(filename: str, subfolder: str) -> Animated:
    picture = {"filename": filename, "subfolder": subfolder, "type": "output"}
    return {"ui": {"images": [picture], "animated": (True,)}}


class SaveAnimatedWEBP:
    """Saves pictures as the frames of a WEBP file."""

    PACK = PACK
    CATEGORY = "image/animation"
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "images": socket("IMAGE"),
                "filename_prefix": text(default="ComfyUI"),
                "fps": decimal(6.0, 0.01, 1000.0),
                "lossless": flag(default=True),
                "quality": integer(80, 0, 100),
                "method": choice(list(METHODS)),
            },
            "hidden": dict(PNG_HIDDEN),
        }

    def save_images(
        self,
        images: Image,
        fps: float,
        filename_prefix: str,
        lossless: bool,
        quality: int,
        method: str,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> Animated:
        """One file; prompt and extras go into its EXIF data as `name:JSON`."""
        height, width = images.shape[1:3]
        name = services().folders.next_name(filename_prefix, output_root("output"), width, height, count=1)
        frames = _frames(images)
        filename = f"{name.stem}_{name.counter:05}_.webp"
        exif = _exif(metadata_texts(prompt, extra_pnginfo))
        write_atomically(
            name.folder / filename,
            lambda file: frames.save(
                file,
                format="WEBP",
                save_all=True,
                duration=_frame_ms(fps),
                exif=exif,
                lossless=lossless,
                quality=quality,
                method=METHODS[method],
            ),
        )
        return _shown(filename, name.subfolder)


def _exif(texts: Mapping[str, str]) -> PilImage.Exif:
    exif = PilImage.Exif()
    tag = EXIF_EXTRA
    for name, value in texts.items():
        if name == "prompt":
            exif[EXIF_PROMPT] = f"{name}:{value}"
        else:
            exif[tag] = f"{name}:{value}"
            tag -= 1
    return exif


class SaveAnimatedPNG:
    """Saves pictures as the frames of a PNG file."""

    PACK = PACK
    CATEGORY = "image/animation"
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "images": socket("IMAGE"),
                "filename_prefix": text(default="ComfyUI"),
                "fps": decimal(6.0, 0.01, 1000.0),
                "compress_level": integer(4, 0, 9),
            },
            "hidden": dict(PNG_HIDDEN),
        }

    def save_images(
        self,
        images: Image,
        fps: float,
        compress_level: int,
        filename_prefix: str = "ComfyUI",
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> Animated:
        """One file; prompt and extras go into `comf` chunks behind the frames."""
        height, width = images.shape[1:3]
        name = services().folders.next_name(filename_prefix, output_root("output"), width, height, count=1)
        frames = _frames(images)
        filename = f"{name.stem}_{name.counter:05}_.png"
        info = PngInfo()
        for key, value in metadata_texts(prompt, extra_pnginfo).items():
            info.add(b"comf", _latin(key) + b"\0" + _latin(value), after_idat=True)
        write_atomically(
            name.folder / filename,
            lambda file: frames.save(
                file,
                format="PNG",
                save_all=True,
                duration=_frame_ms(fps),
                pnginfo=info,
                compress_level=compress_level,
            ),
        )
        return _shown(filename, name.subfolder)


def _latin(text: str) -> bytes:
    """The text in Latin-1; what does not fit is written as in JSON."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return json.dumps(text)[1:-1].encode("latin-1")


NODES = (SaveAnimatedWEBP, SaveAnimatedPNG)
