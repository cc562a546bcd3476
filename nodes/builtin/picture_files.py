"""How pictures are read from and written to files: frames, alpha, metadata, names. Knows no node."""

from __future__ import annotations

import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from executor import wholefile
from executor.files import ROOTS, Root
from executor.inference.devices import refuse_unless_free
from executor.inference.pixels import to_bytes
from executor.inference.png import COLOUR_TYPES, Bytes, encode_png
from executor.inference.values import Image as Pictures
from executor.inference.values import Mask
from executor.wholefile import Record
from nodes.builtin.services import attempt, services

NO_MASK = (64, 64)  # size of the empty mask that a picture without alpha gives
SINGLE_FRAME = frozenset({"MPO"})  # formats whose further frames are other views of the first
SMALL_BYTES = 1 << 28  # of values that are read without asking how much memory is free
BYTES_A_PIXEL = 16  # three colours and a mask as 32-bit numbers
FAST_LEVELS = range(1, 5)  # of zlib, whose files the fast encoder's are as small as; beyond them the size matters more
PLAIN_MODES = frozenset({"L", "LA", "RGB", "RGBA"})
Saved = dict[str, str]


# ---------------------------------------------------------------- reading


@contextmanager
def opened(path: Path, name: str, field: str) -> Iterator[Image.Image]:
    """Open a picture for a with block; what goes wrong in it names the file and the input it was chosen in.

    UnidentifiedImageError when the file is no picture, OSError when it is damaged.
    """
    try:
        with Image.open(path) as picture:
            yield picture
    except UnidentifiedImageError as error:
        text = f"input {field!r}: cannot identify image file {name!r}; it is damaged or no picture"
        raise UnidentifiedImageError(text) from error
    except Image.DecompressionBombError as error:
        raise OSError(f"input {field!r}: image file {name!r} is too large to be read: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow: broken chunks, and texts that unpack to megabytes
        raise OSError(f"input {field!r}: cannot read image file {name!r}: {error}") from error


def read_pictures(picture: Image.Image) -> tuple[Pictures, Mask]:
    """Frames [B, H, W, 3] and masks [B, H, W] (1 = transparent) of a file; frames of another size are left out."""
    images: list[Tensor] = []
    masks: list[Tensor] = []
    size: tuple[int, int] | None = None
    for number, raw in enumerate(ImageSequence.Iterator(picture), start=1):
        nbytes = number * raw.width * raw.height * BYTES_A_PIXEL
        if nbytes > SMALL_BYTES:  # the frames that are read already are joined to a batch beside them
            refuse_unless_free(nbytes, f"a file of {number} frames and more of {raw.width} x {raw.height} pixels")
        frame = upright(raw)
        if size is None:
            size = frame.size
        if frame.size != size:
            continue
        if frame.mode == "P" and "transparency" in frame.info:
            frame = frame.convert("RGBA")
        images.append(channels(frame.convert("RGB")))
        masks.append(_mask(frame))
        if picture.format in SINGLE_FRAME:
            break
    return torch.stack(images), torch.stack(masks)


def upright(frame: Image.Image) -> Image.Image:
    """The frame turned as its EXIF data says; 32-bit greys brought down to 8 bits."""
    turned = ImageOps.exif_transpose(frame)
    return turned.point(lambda value: value * (1 / 255)) if turned.mode == "I" else turned


def channels(picture: Image.Image) -> Tensor:
    """The values of a picture in 0..1: [H, W, C], or [H, W] of one channel."""
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255.0)


def _mask(frame: Image.Image) -> Mask:
    if "A" in frame.getbands():
        return 1.0 - channels(frame.getchannel("A"))
    return torch.zeros(NO_MASK)


# ---------------------------------------------------------------- writing


def whole(path: Path, record: Record | None = None) -> AbstractContextManager[Path]:
    """A temporary name beside a file, which gets its own at the end of the block.

    It is noted in the record, that of the running attempt where none is given.
    """
    return wholefile.whole(path, record=record or attempt())


def write_atomically(path: Path, write: Callable[[BinaryIO], object], record: Record | None = None) -> None:
    """Write a file under a temporary name first; `record` as in `whole`."""
    with whole(path, record) as part, part.open("wb") as file:
        write(file)


def write_png(path: Path, picture: Image.Image, info: PngInfo, compress_level: int) -> None:
    """Write one PNG file."""
    data = _png_of(picture, info, compress_level)
    write_atomically(path, lambda file: file.write(data))


def encoded_pngs(pictures: Pictures | Sequence[Bytes], info: PngInfo, compress_level: int) -> Iterator[bytes]:
    """Pictures [B, H, W, C] in 0..1, or their 8-bit values, as PNG files, in order; one for each core at a time."""

    def encoded(picture: Tensor | Bytes) -> bytes:
        return png_bytes(to_bytes(picture) if isinstance(picture, Tensor) else picture, info, compress_level)

    cores = min(len(pictures), os.cpu_count() or 1) if len(pictures) > 1 else 1
    if cores == 1:
        yield from map(encoded, pictures)
        return
    with ThreadPoolExecutor(cores, thread_name_prefix="png") as pool:
        ahead: deque[Future[bytes]] = deque()
        for picture in pictures:
            ahead.append(pool.submit(encoded, picture))
            if len(ahead) > cores:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def png_bytes(pixels: Bytes, info: PngInfo, compress_level: int) -> bytes:
    """8-bit values [H, W, C] as the bytes of a PNG file; TypeError when no PNG file has so many channels."""
    if compress_level in FAST_LEVELS and pixels.size and pixels.shape[-1] in COLOUR_TYPES:
        return encode_png(pixels, [(kind, content) for kind, content, *_ in info.chunks])
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return _png_of_pillow(picture, info, compress_level)


def _png_of(picture: Image.Image, info: PngInfo, compress_level: int) -> bytes:
    if picture.mode not in PLAIN_MODES:
        return _png_of_pillow(picture, info, compress_level)
    return png_bytes(np.asarray(picture).reshape(picture.height, picture.width, -1), info, compress_level)


def _png_of_pillow(picture: Image.Image, info: PngInfo, compress_level: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=info, compress_level=compress_level)
    return buffer.getvalue()


def metadata_texts(prompt: object, extra: Mapping[str, object] | None) -> dict[str, str]:
    """What goes into a saved file, as JSON texts: the prompt, then the client's extras; nothing if that is off."""
    if services().settings.disable_metadata:
        return {}
    texts = {} if prompt is None else {"prompt": json.dumps(prompt)}
    return texts | {name: json.dumps(value) for name, value in (extra or {}).items()}


def png_metadata(texts: Mapping[str, str]) -> PngInfo:
    """PNG text chunks of `metadata_texts`."""
    info = PngInfo()
    for name, value in texts.items():
        info.add_text(name, value)
    return info


def output_root(kind: str, chosen: str | None = None) -> Path:
    """The folder that files of a kind (output, temp, input) go to, unless a node chose its own."""
    if chosen is not None:
        return Path(chosen).absolute()
    root: Root = next(root for root in ROOTS if root == kind)
    return services().folders.root(root)
