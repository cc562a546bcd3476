"""Small nodes of VideoHelperSuite around videos: their numbers, their files, their sound, lists made one batch.

Behaviour: reference/vhs_video_combine.md section 5. Where the pack itself is installed, its own nodes are used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.files import ROOTS
from executor.inference.sound import read_sound
from executor.inference.values import Audio
from nodes.builtin.free_paths import written_path
from nodes.builtin.inputs import InputTypes, choice, decimal, files, integer, socket, text
from nodes.builtin.services import check_input_file, file_hash, input_path, services
from nodes.builtin.video_combine import Filenames
from nodes.builtin.video_formats import CATEGORY, PACK
from nodes.builtin.video_load import LARGEST

NUMBERS = {"fps": "FLOAT", "frame_count": "INT", "duration": "FLOAT", "width": "INT", "height": "INT"}
SIDES = ("source", "loaded")
Info = Mapping[str, float | int]


class VHS_VideoInfo:  # noqa: N801  # the name that workflows have
    """Gives the numbers of a loaded video: of its file, and of what was loaded."""

    PACK = PACK
    DISPLAY_NAME = "Video Info 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = tuple(NUMBERS.values()) * 2
    RETURN_NAMES = tuple(f"{side}_{name}" for side in SIDES for name in NUMBERS)
    FUNCTION = "get_video_info"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"video_info": socket("VHS_VIDEOINFO")}}

    def get_video_info(self, video_info: Info) -> tuple[float | int, ...]:
        """Frames per second, number of frames, seconds, width and height, twice."""
        return tuple(video_info[name] for name in self.RETURN_NAMES)


class VHS_VideoInfoSource:  # noqa: N801  # as above
    """Gives the numbers of a video's file."""

    PACK = PACK
    DISPLAY_NAME = "Video Info (Source) 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = tuple(NUMBERS.values())
    RETURN_NAMES = tuple(NUMBERS)
    FUNCTION = "get_video_info"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"video_info": socket("VHS_VIDEOINFO")}}

    def get_video_info(self, video_info: Info) -> tuple[float | int, ...]:
        """Frames per second, number of frames, seconds, width and height."""
        return tuple(video_info[f"source_{name}"] for name in NUMBERS)


class VHS_VideoInfoLoaded:  # noqa: N801  # as above
    """Gives the numbers of what was loaded of a video."""

    PACK = PACK
    DISPLAY_NAME = "Video Info (Loaded) 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = tuple(NUMBERS.values())
    RETURN_NAMES = tuple(NUMBERS)
    FUNCTION = "get_video_info"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"video_info": socket("VHS_VIDEOINFO")}}

    def get_video_info(self, video_info: Info) -> tuple[float | int, ...]:
        """Frames per second, number of frames, seconds, width and height."""
        return tuple(video_info[f"loaded_{name}"] for name in NUMBERS)


class VHS_SelectFilename:  # noqa: N801  # as above
    """Gives one of the paths that Video Combine wrote."""

    PACK = PACK
    DISPLAY_NAME = "Select Filename 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("Filename",)
    FUNCTION = "select_filename"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        index = integer(-1, -LARGEST, LARGEST, step=1)
        return {"required": {"filenames": socket("VHS_FILENAMES"), "index": index}}

    def select_filename(self, filenames: Filenames, index: int) -> tuple[str]:
        """The path at a place, counted from the end if negative; NodeInputError where there is none."""
        paths = filenames[1]
        if not -len(paths) <= index < len(paths):
            raise NodeInputError(f"input 'index': there are {len(paths)} files; {index} names none of them")
        return (paths[index],)


class VHS_PruneOutputs:  # noqa: N801  # as above
    """Deletes files that Video Combine wrote on the way to its last one."""

    PACK = PACK
    DISPLAY_NAME = "Prune Outputs 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = ()
    FUNCTION = "prune_outputs"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        options = choice(["Intermediate", "Intermediate and Utility"])
        return {"required": {"filenames": socket("VHS_FILENAMES"), "options": options}}

    def prune_outputs(self, filenames: Filenames, options: str) -> dict[str, object]:
        """Delete what lies between the cover and the last file, or also the cover; only below output and temp."""
        paths = [Path(path).resolve() for path in filenames[1]]
        folders = [services().folders.root(root).resolve() for root in ROOTS if root != "input"]
        for path in paths[1:-1] if options == "Intermediate" else paths[:-1]:
            if not any(folder in path.parents for folder in folders):
                raise NodeInputError(
                    f"input 'filenames': {path} is in neither the output nor the temp folder; it stays"
                )
            path.unlink(missing_ok=True)
        return {}


class VHS_LoadAudio:  # noqa: N801  # as above
    """Loads the sound of a file by its path."""

    PACK = PACK
    DISPLAY_NAME = "Load Audio (Path) 🎥🅥🅗🅢"
    CATEGORY = f"{CATEGORY}/audio"
    RETURN_TYPES = ("AUDIO", "FLOAT")
    RETURN_NAMES = ("audio", "duration")
    FUNCTION = "load_audio"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        extensions = ["wav", "mp3", "ogg", "m4a", "flac"]
        path = text(default="input/", vhs_path_extensions=extensions)
        times: dict[str, object] = {"seek_seconds": decimal(0.0, 0.0, LARGEST), "duration": decimal(0.0, 0.0, LARGEST)}
        return {"required": {"audio_file": path}, "optional": times}

    def load_audio(self, audio_file: str, seek_seconds: float = 0.0, duration: float = 0.0) -> tuple[Audio, float]:
        """Sound from a time on, and its seconds; a duration of 0 takes all. UnsafePath for what may not be read."""
        return _heard(written_path(audio_file, "audio_file"), seek_seconds, duration)

    @classmethod
    def IS_CHANGED(cls, audio_file: str, **_asked: object) -> str:
        """A hash of the path and its time of change."""
        path = written_path(audio_file, "audio_file")
        return hashlib.sha256(f"{path}{path.stat().st_mtime_ns}".encode()).hexdigest()


class VHS_LoadAudioUpload:  # noqa: N801  # as above
    """Loads the sound of a file of the input folder."""

    PACK = PACK
    DISPLAY_NAME = "Load Audio (Upload) 🎥🅥🅗🅢"
    CATEGORY = f"{CATEGORY}/audio"
    RETURN_TYPES = ("AUDIO", "FLOAT")
    RETURN_NAMES = ("audio", "duration")
    FUNCTION = "load_audio"
    FILE_CHECKS: ClassVar[dict[str, str]] = {"audio": "audio"}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        times: dict[str, object] = {"start_time": decimal(0.0, 0.0, LARGEST), "duration": decimal(0.0, 0.0, LARGEST)}
        return {"required": {"audio": files("input", content="audio,video")}, "optional": times}

    def load_audio(self, audio: str, start_time: float = 0.0, duration: float = 0.0) -> tuple[Audio, float]:
        """Sound from a time on, and its seconds; a duration of 0 takes all. NodeInputError for a file without sound."""
        return _heard(input_path(audio, "audio"), start_time, duration)

    @classmethod
    def IS_CHANGED(cls, audio: str, **_asked: object) -> str:
        """The hash of the file, so that a changed file is loaded again."""
        return file_hash(input_path(audio, "audio"))

    @classmethod
    def VALIDATE_INPUTS(cls, audio: str) -> bool | str:
        """True, or what is wrong; the server answers this by itself (FILE_CHECKS)."""
        return check_input_file(audio, "audio")


def _heard(path: Path, start_s: float, seconds: float) -> tuple[Audio, float]:
    sound = read_sound(str(path), path.name, start_s, seconds or None)
    if sound is None:
        raise NodeInputError(f"{path.name} holds no sound")
    return sound, sound["waveform"].shape[-1] / sound["sample_rate"]


class VHS_Unbatch:  # noqa: N801  # as above
    """Makes one batch of a list of batches."""

    PACK = PACK
    DISPLAY_NAME = "Unbatch 🎥🅥🅗🅢"
    CATEGORY = CATEGORY
    RETURN_TYPES = ("*",)
    RETURN_NAMES = ("unbatched",)
    INPUT_IS_LIST = True
    FUNCTION = "unbatch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"batched": socket("*")}}

    def unbatch(self, batched: list[Any]) -> tuple[Any]:
        """Tensors and latents joined along their batch, lists joined; NodeInputError for anything else."""
        first = batched[0] if batched else None
        if isinstance(first, Tensor):
            return (torch.cat(batched),)
        if isinstance(first, Mapping) and "samples" in first:
            return ({"samples": torch.cat([latent["samples"] for latent in batched])},)
        if isinstance(first, list):
            return ([item for part in batched for item in part],)
        raise NodeInputError(f"input 'batched': {type(first).__name__} cannot be joined to one batch")


NODES = (
    VHS_VideoInfo,
    VHS_VideoInfoSource,
    VHS_VideoInfoLoaded,
    VHS_SelectFilename,
    VHS_PruneOutputs,
    VHS_LoadAudio,
    VHS_LoadAudioUpload,
    VHS_Unbatch,
)
