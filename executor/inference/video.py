"""VIDEO values: videos in files and videos made of pictures. Know no nodes; what packs get of them is in nodes/compat.

Names and arguments are those of comfy_api (reference/execution.md section 14).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch

from executor import context
from executor.errors import NodeInputError
from executor.inference.frames import Pictures, file_values
from executor.inference.media import Source, container_options, encoding, parsed, pyav, rate_of, reading, texts
from executor.inference.sound import fitted, is_ours, read_sound
from executor.inference.values import Audio, Image
from executor.inference.video_decoding import read_frames, shown_size, video_stream
from executor.inference.video_encoding import VideoEncoding, encode_video
from executor.wholefile import Record, whole

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

Metadata = Mapping[str, object]
WEBM_CODECS = frozenset({"vp8", "vp9", "av1", "libdav1d", "opus", "vorbis", "libopus", "libvorbis"})
H264_CRF = "19"


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
    """Pictures [B, H, W, 3], frames per second, and sound if there is any."""

    images: Image
    frame_rate: Fraction
    audio: Audio | None = None
    metadata: dict[str, object] | None = None


class VideoInput(ABC):
    """A video, wherever it comes from."""

    @abstractmethod
    def get_components(self) -> VideoComponents:
        """Pictures, sound and frame rate."""

    @abstractmethod
    def save_to(
        self,
        path: str | BinaryIO,
        format: VideoContainer = VideoContainer.AUTO,
        codec: VideoCodec = VideoCodec.AUTO,
        metadata: Metadata | None = None,
    ) -> None:
        """Write it to a file or a binary stream; `auto` lets the video choose."""

    def get_stream_source(self) -> Source:
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


class VideoFromFile(VideoInput):
    """A video in a file or a binary stream; nothing is read before it is asked for.

    Every method raises NodeInputError when the file is damaged or has no video, FileNotFoundError when it is gone.
    """

    def __init__(self, file: Source) -> None:
        self._file = file

    def get_stream_source(self) -> Source:
        """The path, or the stream from its start."""
        if isinstance(self._file, BytesIO):
            self._file.seek(0)
        return self._file

    def get_dimensions(self) -> tuple[int, int]:
        """Width and height, as it is shown."""
        with reading(self._file) as container:
            return shown_size(container)

    def get_duration(self) -> float:
        """Seconds."""
        with reading(self._file) as container:
            stream = video_stream(container)
            if container.duration is not None:
                return float(container.duration / pyav().time_base)
            frames = stream.frames or sum(1 for _ in container.decode(stream))
            return float(frames / (stream.average_rate or 1))

    def get_frame_count(self) -> int:
        """The number of pictures."""
        with reading(self._file) as container:
            stream = video_stream(container)
            return stream.frames or sum(1 for _ in container.decode(stream))

    def get_frame_rate(self) -> Fraction:
        """Pictures per second."""
        with reading(self._file) as container:
            return Fraction(video_stream(container).average_rate or 1)

    def get_container_format(self) -> str:
        """The name of the file format, as FFmpeg has it."""
        with reading(self._file) as container:
            return str(container.format.name)

    def is_webm(self) -> bool:
        """Tell whether it may be called .webm: browsers play only some codecs in such files."""
        with reading(self._file) as container:
            kept = [stream.codec_context.name for stream in _kept(container)]
            return "webm" in container.format.name.split(",") and WEBM_CODECS.issuperset(kept)

    def get_components(self) -> VideoComponents:
        """Pictures, sound and frame rate."""
        with reading(self._file) as container:
            rate = Fraction(video_stream(container).average_rate or 1)
            metadata = {key: parsed(value) for key, value in container.metadata.items()}
            images = read_frames(container)
        audio = read_sound(self._file)
        return VideoComponents(images=images, frame_rate=rate, audio=audio, metadata=metadata)

    def save_to(
        self,
        path: str | BinaryIO,
        format: VideoContainer = VideoContainer.AUTO,
        codec: VideoCodec = VideoCodec.AUTO,
        metadata: Metadata | None = None,
    ) -> None:
        """Write the video; its streams are copied as they are where format and codec allow it."""
        if self._keeps(format, codec):
            self._copy(path, metadata)
            return
        VideoFromComponents(self.get_components()).save_to(path, format=format, codec=codec, metadata=metadata)

    def _keeps(self, format: VideoContainer, codec: VideoCodec) -> bool:
        with reading(self._file) as container:
            name, names = video_stream(container).codec.name, container.format.name.split(",")
        return str(format or "auto") in ("auto", *names) and str(codec or "auto") in ("auto", name)

    def _copy(self, path: str | BinaryIO, metadata: Metadata | None) -> None:
        with reading(self._file) as source, encoding("copying a video"):
            name = _container_for(source, self.is_webm())
            options = container_options(name)
            with _whole(path) as place, pyav().open(place, mode="w", format=name, options=options) as target:
                kept = {key: value for key, value in source.metadata.items() if is_ours(key)}
                target.metadata.update({**kept, **texts(metadata)})
                _copy_packets(source, target)


@contextmanager
def _whole(path: str | os.PathLike[str] | BinaryIO) -> Iterator[str | BinaryIO]:
    """Where to write what goes to a file or a stream: a file is seen under its name only when all of it is there."""
    if not isinstance(path, str | os.PathLike):
        yield path
        return
    line = getattr(context.current().services, "line", None)
    record: Record | None = getattr(line, "attempt", None)
    with whole(Path(os.path.abspath(path)), record=record) as part:
        yield str(part)


def _kept(container: InputContainer) -> list[VideoStream | AudioStream]:
    """The streams that are copied: pictures and sound."""
    return [*container.streams.video, *container.streams.audio]


def _container_for(source: InputContainer, webm: bool) -> str:
    kinds = source.format.name.split(",")
    if "mp4" in kinds:
        return "mp4"
    return "webm" if webm else str(kinds[0])


def _copy_packets(source: InputContainer, target: OutputContainer) -> None:
    copied = {stream: target.add_stream_from_template(stream, opaque=True) for stream in _kept(source)}
    for packet in source.demux(list(copied)):
        if packet.dts is not None:
            packet.stream = copied[packet.stream]  # type: ignore[index]  # only these streams were asked for
            target.mux(packet)


class VideoFromComponents(VideoInput):
    """A video of pictures and sound that are in memory."""

    def __init__(self, components: VideoComponents) -> None:
        self._components = components

    def get_components(self) -> VideoComponents:
        """Pictures, sound and frame rate."""
        return self._components

    def save_to(
        self,
        path: str | BinaryIO,
        format: VideoContainer = VideoContainer.AUTO,
        codec: VideoCodec = VideoCodec.AUTO,
        metadata: Metadata | None = None,
    ) -> None:
        """Write an MP4 file with H.264 pictures and AAC sound, cut to the pictures' length.

        Odd sides grow by one row or column, which repeats the edge. NodeInputError for another format or codec, for no
        pictures and for what cannot be encoded.
        """
        if str(format or "auto") not in ("auto", "mp4"):
            raise NodeInputError(f"videos are written as mp4, not {format}")
        if str(codec or "auto") not in ("auto", "h264"):
            raise NodeInputError(f"videos are written with h264, not {codec}")
        pictures, rate = Pictures(self._components.images), rate_of(self._components.frame_rate, "fps")
        how = VideoEncoding(container="mp4", codec="libx264", pix_fmt="yuv420p", options={"crf": H264_CRF})
        frames = (file_values(pictures[number], alignment=2) for number in range(len(pictures)))
        with _whole(path) as place:
            encode_video(place, frames, rate, how, texts(metadata), self._sound(len(pictures) / rate))

    def _sound(self, seconds: Fraction) -> Audio | None:
        audio = self._components.audio
        if audio is None or not audio["waveform"].numel():
            return None
        rate = int(audio["sample_rate"])
        cut = min(float(seconds), audio["waveform"].shape[-1] / rate)
        waveform = fitted(audio["waveform"][0], rate, cut).to(torch.float32)
        return {"waveform": waveform[None], "sample_rate": rate}
