"""Nodes that make, load, take apart and save videos (VIDEO). Know no models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import ClassVar

from executor import context
from executor.contract.definition import FileChoices
from executor.contract.types import FileList
from executor.errors import NodeInputError
from executor.inference.frames import Pictures, Values, file_values
from executor.inference.media import rate_of
from executor.inference.sound import checked
from executor.inference.values import Audio, Image
from executor.inference.video import (
    VideoCodec,
    VideoComponents,
    VideoContainer,
    VideoFromComponents,
    VideoFromFile,
    VideoInput,
)
from executor.inference.video_encoding import VideoEncoding, encode_video
from nodes.builtin.inputs import InputTypes, combo, decimal, text
from nodes.builtin.picture_files import metadata_texts, output_root, whole
from nodes.builtin.services import check_input_file, input_path, services

PACK = "comfy_extras.nodes_video"
CATEGORY = "image/video"
HIDDEN: Mapping[str, object] = {"prompt": ("PROMPT",), "extra_pnginfo": ("EXTRA_PNGINFO",)}
WEBM_ENCODERS = {"vp9": ("libvpx-vp9", "yuv420p"), "av1": ("libsvtav1", "yuv420p10le")}
Shown = dict[str, dict[str, object]]


def _shown(filename: str, subfolder: str) -> Shown:
    return {"ui": {"images": [{"filename": filename, "subfolder": subfolder, "type": "output"}], "animated": (True,)}}


class CreateVideo:
    """Makes a video of pictures, and sound if there is any."""

    PACK = PACK
    LISTING = "v3"
    DISPLAY_NAME = "Create Video"
    CATEGORY = CATEGORY
    DESCRIPTION = "Joins pictures, and sound if there is any, into a video."
    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "create"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The frames, in their order."}),
                "fps": decimal(30.0, 1.0, 120.0, 1.0),
            },
            "optional": {"audio": ("AUDIO", {"tooltip": "What is heard; it is cut to the length of the frames."})},
        }

    def create(self, images: Image, fps: float, audio: Audio | None = None) -> tuple[VideoInput]:
        """A video in memory; NodeInputError for a rate of 0 or what is no sound."""
        sound = None if audio is None else checked(audio)
        rate: Fraction = rate_of(fps, "fps")
        return (VideoFromComponents(VideoComponents(images=images, audio=sound, frame_rate=rate)),)


class GetVideoComponents:
    """Takes a video apart."""

    PACK = PACK
    LISTING = "v3"
    DISPLAY_NAME = "Get Video Components"
    CATEGORY = CATEGORY
    DESCRIPTION = "Gives a video's frames, its sound and its frame rate."
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT")
    RETURN_NAMES = ("images", "audio", "fps")
    FUNCTION = "take_apart"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"video": ("VIDEO", {"tooltip": "The video to take apart."})}}

    def take_apart(self, video: VideoInput) -> tuple[Image, Audio | None, float]:
        """Pictures, sound (None without any), frames per second; NodeInputError when the file cannot be read."""
        parts = video.get_components()
        return parts.images, parts.audio, float(parts.frame_rate)


class LoadVideo:
    """Loads a video of the input folder."""

    PACK = PACK
    LISTING = "v3"
    DISPLAY_NAME = "Load Video"
    CATEGORY = CATEGORY
    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "load"
    FILE_CHECKS: ClassVar[dict[str, str]] = {"file": "video"}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        listed = FileList(FileChoices(source="input", content="video"))
        return {"required": {"file": ("COMBO", {"multiselect": False, "options": listed, "video_upload": True})}}

    def load(self, file: str) -> tuple[VideoInput]:
        """The video, of which nothing is read yet but its first picture; NodeInputError when it is no video."""
        video = VideoFromFile(str(input_path(file, "file")))
        video.get_dimensions()
        return (video,)

    @classmethod
    def IS_CHANGED(cls, file: str) -> str:
        """Time of change and size of the file: a changed file is loaded again."""
        state = input_path(file, "file").stat()
        return f"{state.st_mtime_ns}-{state.st_size}"

    @classmethod
    def VALIDATE_INPUTS(cls, file: str) -> bool | str:
        """True, or what is wrong; the server answers this by itself (FILE_CHECKS)."""
        return check_input_file(file, "video")


class SaveVideo:
    """Saves a video in the output folder."""

    PACK = PACK
    LISTING = "v3"
    DISPLAY_NAME = "Save Video"
    CATEGORY = CATEGORY
    DESCRIPTION = "Saves a video in the output folder, with the prompt that made it."
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "video": ("VIDEO", {"tooltip": "The video to save."}),
                "filename_prefix": text(
                    default="video/ComfyUI",
                    multiline=False,
                    tooltip="How file names begin; %width%, %year% … are filled in, a slash makes folders.",
                ),
                "format": combo(VideoContainer.as_input(), default="auto", tooltip="The format of the file."),
                "codec": combo(VideoCodec.as_input(), default="auto", tooltip="How the frames are encoded."),
            },
            "hidden": dict(HIDDEN),
        }

    def save(
        self,
        video: VideoInput,
        filename_prefix: str,
        format: str,
        codec: str,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> Shown:
        """One file. A loaded video is copied where format and codec allow it; UnsafePath for a prefix that leaves."""
        width, height = video.get_dimensions()
        name = services().folders.next_name(filename_prefix, output_root("output"), width, height, count=1)
        keeps_webm = format == codec == "auto" and isinstance(video, VideoFromFile) and video.is_webm()
        filename = f"{name.stem}_{name.counter:05}_.{'webm' if keeps_webm else 'mp4'}"
        container = VideoContainer.AUTO if keeps_webm else VideoContainer.MP4
        with whole(name.folder / filename) as part:
            texts = metadata_texts(prompt, extra_pnginfo)
            video.save_to(str(part), format=container, codec=VideoCodec(codec), metadata=texts)
        return _shown(filename, name.subfolder)


class SaveWEBM:
    """Saves pictures as a silent WebM video."""

    PACK = PACK
    LISTING = "v3"
    CATEGORY = CATEGORY
    EXPERIMENTAL = True
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        quality = "Larger values give smaller files of lower quality."
        return {
            "required": {
                "images": ("IMAGE", {}),
                "filename_prefix": text(default="ComfyUI", multiline=False),
                "codec": combo(list(WEBM_ENCODERS)),
                "fps": decimal(24.0, 0.01, 1000.0),
                "crf": ("FLOAT", {"default": 32.0, "min": 0, "max": 63.0, "step": 1, "tooltip": quality}),
            },
            "hidden": dict(HIDDEN),
        }

    def save(
        self,
        images: Image,
        filename_prefix: str,
        codec: str,
        fps: float,
        crf: float,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> Shown:
        """One file, frame by frame; NodeInputError for no pictures or what cannot be encoded."""
        if codec not in WEBM_ENCODERS:
            raise NodeInputError(f"input 'codec': {codec!r} is none of {', '.join(WEBM_ENCODERS)}")
        pictures, here = Pictures(images), context.current()
        encoder, pixels = WEBM_ENCODERS[codec]
        options = {"crf": str(int(crf)), "b": "0"} if codec == "vp9" else {"crf": str(int(crf))}
        how = VideoEncoding(container="webm", codec=encoder, pix_fmt=pixels, options=options)
        height, width = images.shape[1:3]
        name = services().folders.next_name(filename_prefix, output_root("output"), width, height, count=1)
        filename = f"{name.stem}_{name.counter:05}_.webm"

        def frames() -> Iterator[Values]:
            for number in range(len(pictures)):
                here.progress(number + 1, len(pictures))
                yield file_values(pictures[number], alignment=2)

        with whole(name.folder / filename) as part:
            encode_video(part, frames(), rate_of(fps, "fps"), how, metadata_texts(prompt, extra_pnginfo))
        return _shown(filename, name.subfolder)


NODES = (CreateVideo, GetVideoComponents, LoadVideo, SaveVideo, SaveWEBM)
