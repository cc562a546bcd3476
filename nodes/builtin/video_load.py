"""The nodes of VideoHelperSuite that load videos: all frames or some of them, at a rate and size of choice.

Behaviour: reference/vhs_video_combine.md section 5. Where the pack itself is installed, its own nodes are used.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from executor.contract.definition import FileChoices
from executor.contract.types import FileList
from executor.errors import NodeInputError, UnknownName
from executor.inference.values import Image, Latent, Mask
from executor.inference.video_loading import LOAD_FORMATS, LazySound, Loaded, LoadFormat, Wanted, load_video
from nodes.builtin.free_paths import written_path
from nodes.builtin.inputs import Either, Entry, InputTypes, decimal, integer, text
from nodes.builtin.picture_files import NO_MASK
from nodes.builtin.services import check_input_file, input_path
from nodes.builtin.video_formats import CATEGORY, PACK
from nodes.builtin.video_meta_batch import MetaBatch

LARGEST = 2**53 - 1  # the largest whole number that clients in JavaScript count to
IMAGES = Either("IMAGE", "LATENT")
Result = tuple[Image | Latent, int, LazySound, dict[str, float | int]]
MaskedResult = tuple[Image | Latent, Mask, LazySound, dict[str, float | int]]


def _chosen_file() -> Entry:
    listed = FileList(FileChoices(source="input", content=".webm,.mp4,.mkv,.gif,.mov"))
    return (listed, {"video_upload": True})


def _written_file() -> Entry:
    return text(placeholder="X://insert/path/here.mp4", vhs_path_extensions=["webm", "mp4", "mkv", "gif", "mov"])


def _inputs(video: Entry, **picking: Entry) -> InputTypes:
    formats = {name: {"dim": [form.side, 0], "frames": [form.step, form.rest]} for name, form in LOAD_FORMATS.items()}
    return {
        "required": {
            "video": video,
            "force_rate": decimal(0.0, 0.0, 60.0, 1.0, disable=0),
            "custom_width": integer(0, 0, 8192, disable=0),
            "custom_height": integer(0, 0, 8192, disable=0),
            "frame_load_cap": integer(0, 0, LARGEST, step=1, disable=0),
            **picking,
        },
        "optional": {
            "meta_batch": ("VHS_BatchManager",),
            "vae": ("VAE",),
            "format": (list(LOAD_FORMATS), {"default": "AnimateDiff", "formats": formats}),
        },
        "hidden": {"unique_id": "UNIQUE_ID"},
    }


def _by_number() -> dict[str, Entry]:
    return {
        "skip_first_frames": integer(0, 0, LARGEST, step=1),
        "select_every_nth": integer(1, 1, LARGEST, step=1),
    }


def _by_time() -> dict[str, Entry]:
    return {"start_time": decimal(0.0, 0.0, LARGEST, 0.001)}


class VHS_LoadVideo:  # noqa: N801  # the name that workflows have
    """Loads frames of a video of the input folder."""

    PACK = PACK
    DISPLAY_NAME = "Load Video (Upload) 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = (IMAGES, "INT", "AUDIO", "VHS_VIDEOINFO")
    RETURN_NAMES = ("IMAGE", "frame_count", "audio", "video_info")
    FUNCTION = "load_video"
    FILE_CHECKS: ClassVar[dict[str, str]] = {"video": "video"}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _inputs(_chosen_file(), **_by_number())

    def load_video(self, video: str, **asked: Any) -> Result:  # noqa: ANN401  # the inputs listed above
        """Frames (latents with a VAE), their number, the sound and what is known of both sides."""
        loaded, sound = _load(input_path(video, "video"), video, asked)
        images = _as_latents(loaded.images, asked.get("vae"))
        return images, len(loaded.images), sound, loaded.info

    @classmethod
    def IS_CHANGED(cls, video: str, **_asked: object) -> str:
        """A hash of the path and its time of change."""
        return _stamp(input_path(video, "video"))

    @classmethod
    def VALIDATE_INPUTS(cls, video: str) -> bool | str:
        """True, or what is wrong; the server answers this by itself (FILE_CHECKS)."""
        return check_input_file(video, "video")


class VHS_LoadVideoPath:  # noqa: N801  # as above
    """Loads frames of a video by its path."""

    PACK = PACK
    DISPLAY_NAME = "Load Video (Path) 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = VHS_LoadVideo.RETURN_TYPES
    RETURN_NAMES = VHS_LoadVideo.RETURN_NAMES
    FUNCTION = "load_video"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _inputs(_written_file(), **_by_number())

    def load_video(self, video: str, **asked: Any) -> Result:  # noqa: ANN401  # as above
        """As VHS_LoadVideo; UnsafePath for a path that may not be read."""
        loaded, sound = _load(written_path(video, "video"), video, asked)
        images = _as_latents(loaded.images, asked.get("vae"))
        return images, len(loaded.images), sound, loaded.info

    @classmethod
    def IS_CHANGED(cls, video: str, **_asked: object) -> str:
        """A hash of the path and its time of change."""
        return _stamp(written_path(video, "video"))


class VHS_LoadVideoFFmpeg:  # noqa: N801  # as above
    """Loads frames of a video of the input folder from a time on, with their transparency."""

    PACK = PACK
    DISPLAY_NAME = "Load Video FFmpeg (Upload) 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = (IMAGES, "MASK", "AUDIO", "VHS_VIDEOINFO")
    RETURN_NAMES = ("IMAGE", "mask", "audio", "video_info")
    FUNCTION = "load_video"
    FILE_CHECKS: ClassVar[dict[str, str]] = {"video": "video"}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _inputs(_chosen_file(), **_by_time())

    def load_video(self, video: str, **asked: Any) -> MaskedResult:  # noqa: ANN401  # as above
        """Frames (latents with a VAE), 1 - alpha, the sound and what is known of both sides."""
        return _masked(*_load(input_path(video, "video"), video, asked, alpha=True), asked.get("vae"))

    @classmethod
    def IS_CHANGED(cls, video: str, **_asked: object) -> str:
        """A hash of the path and its time of change."""
        return _stamp(input_path(video, "video"))

    @classmethod
    def VALIDATE_INPUTS(cls, video: str) -> bool | str:
        """True, or what is wrong; the server answers this by itself (FILE_CHECKS)."""
        return check_input_file(video, "video")


class VHS_LoadVideoFFmpegPath:  # noqa: N801  # as above
    """Loads frames of a video by its path from a time on, with their transparency."""

    PACK = PACK
    DISPLAY_NAME = "Load Video FFmpeg (Path) 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = VHS_LoadVideoFFmpeg.RETURN_TYPES
    RETURN_NAMES = VHS_LoadVideoFFmpeg.RETURN_NAMES
    FUNCTION = "load_video"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _inputs(_written_file(), **_by_time())

    def load_video(self, video: str, **asked: Any) -> MaskedResult:  # noqa: ANN401  # as above
        """As VHS_LoadVideoFFmpeg; UnsafePath for a path that may not be read."""
        return _masked(*_load(written_path(video, "video"), video, asked, alpha=True), asked.get("vae"))

    @classmethod
    def IS_CHANGED(cls, video: str, **_asked: object) -> str:
        """A hash of the path and its time of change."""
        return _stamp(written_path(video, "video"))


def _load(path: Path, name: str, asked: dict[str, Any], *, alpha: bool = False) -> tuple[Loaded, LazySound]:
    wanted = Wanted(
        force_rate=float(asked.get("force_rate", 0.0)),
        width=int(asked.get("custom_width", 0)),
        height=int(asked.get("custom_height", 0)),
        cap=int(asked.get("frame_load_cap", 0)),
        skip=int(asked.get("skip_first_frames", 0)),
        every=max(1, int(asked.get("select_every_nth", 1))),
        start_s=float(asked.get("start_time", 0.0)),
        form=_form(str(asked.get("format", "None")), asked.get("vae")),
        alpha=alpha,
    )
    batch: MetaBatch | None = asked.get("meta_batch")
    loaded = load_video(str(path), path.name, wanted) if batch is None else _part(path, wanted, batch)
    fps = loaded.info["loaded_fps"]
    before_s = wanted.skip / (fps * wanted.every)
    seconds = (len(loaded.images) if batch is None else wanted.cap) / fps if wanted.cap else None
    return loaded, LazySound(str(path), path.name, wanted.start_s + before_s, seconds)


def _part(path: Path, wanted: Wanted, batch: MetaBatch) -> Loaded:
    """One batch of a video's frames; one frame more than it holds is read to tell whether others follow.

    Counts that a model wants hold for no single batch. NodeInputError where the frames ended before this batch.
    """
    left = wanted.cap - batch.begin if wanted.cap else batch.frames + 1
    if left <= 0:
        raise NodeInputError(f"input 'meta_batch': {path.name} has no frames left for batch {batch.number + 1}")
    skip, cap = wanted.skip + batch.begin * wanted.every, min(left, batch.frames + 1)
    form = LoadFormat(side=wanted.form.side)
    loaded = load_video(str(path), path.name, replace(wanted, skip=skip, cap=cap, form=form))
    batch.more(len(loaded.images) > batch.frames)
    count = min(len(loaded.images), batch.frames)
    info = {"loaded_frame_count": count, "loaded_duration": count / loaded.info["loaded_fps"]}
    alpha = None if loaded.alpha is None else loaded.alpha[:count]
    return Loaded(images=loaded.images[:count], alpha=alpha, info={**loaded.info, **info})


def _form(name: str, vae: Any) -> LoadFormat:  # noqa: ANN401  # packs bring VAEs of their own
    if vae is not None:
        return LoadFormat(side=int(vae.downscale_ratio))
    if name not in LOAD_FORMATS:
        raise UnknownName("format", name, LOAD_FORMATS)
    return LOAD_FORMATS[name]


def _as_latents(images: Image, vae: Any) -> Image | Latent:  # noqa: ANN401  # as above
    return images if vae is None else {"samples": vae.encode(images)}


def _masked(loaded: Loaded, sound: LazySound, vae: Any) -> MaskedResult:  # noqa: ANN401  # as above
    mask = torch.zeros(len(loaded.images), *NO_MASK) if loaded.alpha is None else 1.0 - loaded.alpha
    return _as_latents(loaded.images, vae), mask, sound, loaded.info


def _stamp(path: Path) -> str:
    return hashlib.sha256(f"{path}{path.stat().st_mtime_ns}".encode()).hexdigest()


NODES = (VHS_LoadVideo, VHS_LoadVideoPath, VHS_LoadVideoFFmpeg, VHS_LoadVideoFFmpegPath)
