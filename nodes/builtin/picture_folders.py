"""The nodes of VideoHelperSuite that load pictures by folder or path.

Behaviour: reference/vhs_video_combine.md section 5. Where the pack itself is installed, its own nodes are used.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import torch

from executor import context
from executor.contract.choices import FOLDERS
from executor.contract.definition import FileChoices
from executor.contract.types import FileList
from executor.errors import NodeInputError
from executor.files import inside
from executor.inference.frames import Values
from executor.inference.values import Image, Mask
from executor.inference.video_decoding import stacked
from executor.inference.video_loading import fitted_values, target_size
from nodes.builtin.free_paths import is_strict, written_path
from nodes.builtin.inputs import Entry, InputTypes, integer, text
from nodes.builtin.picture_files import NO_MASK, opened, upright
from nodes.builtin.services import services
from nodes.builtin.video_formats import CATEGORY, PACK
from nodes.builtin.video_load import LARGEST
from nodes.builtin.video_meta_batch import MetaBatch

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
Result: TypeAlias = tuple[Image, Mask, int]


def _inputs(directory: Entry) -> InputTypes:
    return {
        "required": {"directory": directory},
        "optional": {
            "image_load_cap": integer(0, 0, LARGEST, step=1),
            "skip_first_images": integer(0, 0, LARGEST, step=1),
            "select_every_nth": integer(1, 1, LARGEST, step=1),
            "meta_batch": ("VHS_BatchManager",),
        },
    }


class VHS_LoadImages:  # noqa: N801  # the name that workflows have
    """Loads the pictures of a folder of the input folder."""

    PACK = PACK
    DISPLAY_NAME = "Load Images (Upload) 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE", "MASK", "INT")
    RETURN_NAMES = ("IMAGE", "MASK", "frame_count")
    FUNCTION = "load_images"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _inputs((FileList(FileChoices(source="input", content=FOLDERS)),))

    def load_images(
        self,
        directory: str,
        image_load_cap: int = 0,
        skip_first_images: int = 0,
        select_every_nth: int = 1,
        meta_batch: MetaBatch | None = None,
    ) -> Result:
        """Pictures in the order of their names, 1 - alpha, and how many; NodeInputError for none."""
        folder = _folder(directory)
        return _loaded(folder, image_load_cap, skip_first_images, select_every_nth, meta_batch)

    @classmethod
    def IS_CHANGED(cls, directory: str, **_asked: object) -> str:
        """A hash of the names and times of change."""
        return _stamp(_folder(directory))


class VHS_LoadImagesPath:  # noqa: N801  # as above
    """Loads the pictures of a folder by its path."""

    PACK = PACK
    DISPLAY_NAME = "Load Images (Path) 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = VHS_LoadImages.RETURN_TYPES
    RETURN_NAMES = VHS_LoadImages.RETURN_NAMES
    FUNCTION = "load_images"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _inputs(text(placeholder="X://path/to/images", vhs_path_extensions=[]))

    def load_images(
        self,
        directory: str,
        image_load_cap: int = 0,
        skip_first_images: int = 0,
        select_every_nth: int = 1,
        meta_batch: MetaBatch | None = None,
    ) -> Result:
        """As VHS_LoadImages; UnsafePath for a path that may not be read."""
        folder = written_path(directory, "directory")
        return _loaded(folder, image_load_cap, skip_first_images, select_every_nth, meta_batch)

    @classmethod
    def IS_CHANGED(cls, directory: str, **_asked: object) -> str:
        """A hash of the names and times of change."""
        return _stamp(written_path(directory, "directory"))


class VHS_LoadImagePath:  # noqa: N801  # as above
    """Loads one picture by its path."""

    PACK = PACK
    DISPLAY_NAME = "Load Image (Path) 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("IMAGE", "mask")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        extensions = [suffix[1:] for suffix in sorted(PICTURES)]
        return {
            "required": {
                "image": text(placeholder="X://insert/path/here.png", vhs_path_extensions=extensions),
                "custom_width": integer(0, 0, LARGEST, step=8, disable=0),
                "custom_height": integer(0, 0, LARGEST, step=8, disable=0),
            }
        }

    def load_image(self, image: str, custom_width: int = 0, custom_height: int = 0) -> tuple[Image, Mask]:
        """The picture, at another size if one is given, and 1 - alpha; PIL.UnidentifiedImageError for no picture."""
        values = _read(written_path(image, "image"), "image")
        size = target_size(values.shape[1], values.shape[0], custom_width, custom_height, 1)
        return _batch([fitted_values(values, *size)])

    @classmethod
    def IS_CHANGED(cls, image: str, **_asked: object) -> str:
        """A hash of the path and its time of change."""
        path = written_path(image, "image")
        return hashlib.sha256(f"{path}{path.stat().st_mtime_ns}".encode()).hexdigest()


def _folder(name: str) -> Path:
    """A folder of the input folder; UnsafePath outside it, also where a symbolic link leads there."""
    folders = services().folders
    return folders.fence.require(inside(folders.root("input"), name))


def _pictures_of(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise NodeInputError(f"input 'directory': {folder.name} is no folder")
    fence = services().folders.fence
    within = is_strict() or fence.holds(folder)  # then the pictures must lie within, too
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURES and path.is_file() and (not within or fence.holds(path))
    )


def _loaded(folder: Path, cap: int, skip: int, every: int, meta_batch: MetaBatch | None) -> Result:
    files = _pictures_of(folder)
    chosen = files[skip :: max(1, every)]
    chosen = chosen[:cap] if cap else chosen
    if meta_batch is not None:
        end = meta_batch.begin + meta_batch.frames
        meta_batch.more(len(chosen) > end)
        chosen = chosen[meta_batch.begin : end]
    if not chosen:
        raise NodeInputError(f"input 'directory': of the {len(files)} pictures in {folder.name}, none is left")
    here = context.current()
    pictures = []
    for number, file in enumerate(chosen, start=1):
        pictures.append(_read(file, "directory"))
        here.progress(number, len(chosen))
    ((height, width), _), *_ = Counter(picture.shape[:2] for picture in pictures).most_common(1)
    images, masks = _batch([fitted_values(picture, width, height) for picture in pictures])
    return images, masks, len(images)


def _read(path: Path, field: str) -> Values:
    """A picture file as 8-bit values [H, W, 3], or 4 where it has alpha; its first frame if it has more."""
    with opened(path, path.name, field) as picture:
        turned = upright(picture)
        has_alpha = "A" in turned.getbands() or "transparency" in turned.info
        return np.asarray(turned.convert("RGBA" if has_alpha else "RGB"))


def _batch(pictures: list[Values]) -> tuple[Image, Mask]:
    """Pictures of one size as a batch, with 1 - alpha, or empty masks [n, 64, 64] where none has alpha."""
    images = stacked(picture[..., :3] for picture in pictures)
    assert images is not None
    if not any(picture.shape[-1] == 4 for picture in pictures):
        return images, torch.zeros(len(images), *NO_MASK)
    opaque = np.full((*pictures[0].shape[:2], 1), 255, dtype=np.uint8)
    alpha = stacked(picture[..., 3:] if picture.shape[-1] == 4 else opaque for picture in pictures)
    assert alpha is not None
    return images, 1.0 - alpha[..., 0]


def _stamp(folder: Path) -> str:
    told = "".join(f"{path.name}{path.stat().st_mtime_ns}" for path in _pictures_of(folder))
    return hashlib.sha256(told.encode()).hexdigest()


NODES = (VHS_LoadImages, VHS_LoadImagesPath, VHS_LoadImagePath)
