"""Moving pictures as nodes pass them on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest._util.video_types import VideoCodec, VideoComponents, VideoContainer


class VideoInput(ABC):
    """A video, wherever it comes from."""

    @abstractmethod
    def get_components(self) -> VideoComponents:
        """Pictures, sound and frame rate."""

    @abstractmethod
    def save_to(
        self,
        path: str,
        format: VideoContainer | None = None,
        codec: VideoCodec | None = None,
        metadata: dict[str, object] | None = None,
    ) -> None:
        """Write it to a file or a binary stream; `None` lets the video choose."""

    def get_stream_source(self) -> str | BytesIO:
        """A path, or a stream, that the whole video can be read from."""
        stream = BytesIO()
        self.save_to(stream)
        stream.seek(0)
        return stream

    def get_dimensions(self) -> tuple[int, int]:
        """Width and height."""
        images = self.get_components().images
        return images.shape[2], images.shape[1]

    def get_duration(self) -> float:
        """Seconds."""
        components = self.get_components()
        return float(components.images.shape[0] / components.frame_rate)

    def get_frame_count(self) -> int:
        """The number of pictures."""
        return int(self.get_components().images.shape[0])

    def get_frame_rate(self) -> Fraction:
        """Pictures per second."""
        return self.get_components().frame_rate

    def get_container_format(self) -> str:
        """The name of the file format, as FFmpeg has it."""
        return "mp4"
