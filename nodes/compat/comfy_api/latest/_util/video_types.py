"""What a video is made of, and how it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest._input.basic_types import AudioInput, ImageInput


class VideoCodec(StrEnum):
    """How pictures are encoded."""

    AUTO = "auto"
    H264 = "h264"

    @classmethod
    def as_input(cls) -> list[str]:
        """The names, as choices of an input."""
        return [member.value for member in cls]


class VideoContainer(StrEnum):
    """The format of a file."""

    AUTO = "auto"
    MP4 = "mp4"

    @classmethod
    def as_input(cls) -> list[str]:
        """The names, as choices of an input."""
        return [member.value for member in cls]

    @classmethod
    def get_extension(cls, value: str | VideoContainer) -> str:
        """How file names of a format end, without the dot."""
        return "mp4" if str(value) in (cls.AUTO, cls.MP4) else ""


@dataclass
class VideoComponents:
    """Pictures, frames per second, and sound if there is any."""

    images: ImageInput
    frame_rate: Fraction
    audio: AudioInput | None = None
    metadata: dict[str, object] | None = None
