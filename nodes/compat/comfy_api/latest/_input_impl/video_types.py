"""Videos in files and videos made of pictures, through PyAV, which is imported when one is read or written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np
import torch

from comfy_api.latest._input.basic_types import AudioInput
from comfy_api.latest._input.video_types import VideoInput
from comfy_api.latest._util.video_types import VideoCodec, VideoComponents, VideoContainer
from executor.inference.pixels import to_bytes
from executor.wholefile import whole
from nodes.builtin.services import attempt

AUDIO_RATE = 44100


def pyav() -> ModuleType:
    """PyAV; RuntimeError that says how to get it where it is not installed."""
    try:
        return import_module("av")
    except ImportError as failure:
        raise RuntimeError("video and sound files need PyAV, which is not installed: pip install av") from failure


class VideoFromFile(VideoInput):
    """A video in a file or a binary stream; nothing is read before it is asked for."""

    def __init__(self, file: str | BytesIO) -> None:
        self._file = file

    def get_stream_source(self) -> str | BytesIO:
        """The path, or the stream from its start."""
        if isinstance(self._file, BytesIO):
            self._file.seek(0)
        return self._file

    def get_dimensions(self) -> tuple[int, int]:
        """Width and height; ValueError if the file has no video."""
        with pyav().open(self.get_stream_source()) as container:
            stream = _video_stream(container)
            return stream.width, stream.height

    def get_duration(self) -> float:
        """Seconds; ValueError if the file has no video."""
        with pyav().open(self.get_stream_source()) as container:
            stream = _video_stream(container)
            if container.duration is not None:
                return float(container.duration / pyav().time_base)
            frames = stream.frames or sum(1 for _ in container.decode(stream))
            return float(frames / stream.average_rate)

    def get_frame_count(self) -> int:
        """The number of pictures; ValueError if the file has no video."""
        with pyav().open(self.get_stream_source()) as container:
            stream = _video_stream(container)
            return stream.frames or sum(1 for _ in container.decode(stream))

    def get_frame_rate(self) -> Fraction:
        """Pictures per second; ValueError if the file has no video."""
        with pyav().open(self.get_stream_source()) as container:
            return Fraction(_video_stream(container).average_rate or 1)

    def get_container_format(self) -> str:
        """The name of the file format, as FFmpeg has it."""
        with pyav().open(self.get_stream_source()) as container:
            return container.format.name

    def get_components(self) -> VideoComponents:
        """Pictures [B, H, W, 3], sound and frame rate; ValueError if the file has no video."""
        with pyav().open(self.get_stream_source()) as container:
            stream = _video_stream(container)
            rate = Fraction(stream.average_rate or 1)
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
            metadata = {key: _parsed(value) for key, value in container.metadata.items()}
        images = torch.from_numpy(np.stack(frames)).float() / 255.0 if frames else torch.zeros(0, 0, 0, 3)
        return VideoComponents(images=images, frame_rate=rate, audio=self._audio(), metadata=metadata)

    def save_to(
        self,
        path: str | BinaryIO,
        format: VideoContainer = VideoContainer.AUTO,
        codec: VideoCodec = VideoCodec.AUTO,
        metadata: dict[str, object] | None = None,
    ) -> None:
        """Write the video; its streams are copied as they are where format and codec allow it."""
        if self._keeps(format, codec):
            self._copy(path, metadata)
            return
        components = self.get_components()
        VideoFromComponents(components).save_to(path, format=format, codec=codec, metadata=metadata)

    def _keeps(self, format: VideoContainer, codec: VideoCodec) -> bool:
        with pyav().open(self.get_stream_source()) as container:
            name, names = _video_stream(container).codec.name, container.format.name.split(",")
        return str(format or "auto") in ("auto", *names) and str(codec or "auto") in ("auto", name)

    def _copy(self, path: str | BinaryIO, metadata: dict[str, object] | None) -> None:
        av = pyav()
        with av.open(self.get_stream_source()) as source:
            kind = source.format.name.split(",")
            name = "mp4" if "mp4" in kind else kind[0]
            with _whole(path) as place, av.open(place, mode="w", format=name, options=_mp4_options(name)) as target:
                for key, value in {**source.metadata, **_texts(metadata)}.items():
                    target.metadata[key] = value
                copied = {
                    stream: target.add_stream_from_template(stream)
                    for stream in source.streams
                    if stream.type in ("video", "audio")
                }
                for packet in source.demux(list(copied)):
                    if packet.dts is not None:
                        packet.stream = copied[packet.stream]
                        target.mux(packet)

    def _audio(self) -> AudioInput | None:
        av = pyav()
        with av.open(self.get_stream_source()) as container:
            if not container.streams.audio:
                return None
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp")
            parts = [
                part.to_ndarray() for frame in container.decode(stream) for part in resampler.resample(frame) if part
            ]
            if not parts:
                return None
            waveform = torch.from_numpy(np.concatenate(parts, axis=1)).unsqueeze(0)
            return {"waveform": waveform, "sample_rate": int(stream.rate)}


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
        metadata: dict[str, object] | None = None,
    ) -> None:
        """Write an MP4 file with H.264 pictures and AAC sound; ValueError for another format or codec."""
        if str(format or "auto") not in ("auto", "mp4"):
            raise ValueError(f"videos are written as mp4, not {format}")
        if str(codec or "auto") not in ("auto", "h264"):
            raise ValueError(f"videos are written with h264, not {codec}")
        av, components = pyav(), self._components
        rate = Fraction(round(components.frame_rate * 1000), 1000)
        with _whole(path) as place, av.open(place, mode="w", format="mp4", options=_mp4_options("mp4")) as target:
            for key, value in _texts(metadata).items():
                target.metadata[key] = value
            pictures = target.add_stream("h264", rate=rate)
            height, width = components.images.shape[1:3]
            pictures.width, pictures.height, pictures.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
            sound = _sound_stream(target, components.audio)
            for image in components.images:
                frame = av.VideoFrame.from_ndarray(to_bytes(image)[..., :3], format="rgb24")
                target.mux(pictures.encode(frame.reformat(pictures.width, pictures.height, format="yuv420p")))
            target.mux(pictures.encode(None))
            if sound is not None and components.audio is not None:
                seconds = Fraction(components.images.shape[0]) / rate
                _write_sound(target, sound, components.audio, seconds)


@contextmanager
def _whole(place: str | os.PathLike[str] | BinaryIO) -> Iterator[str | BinaryIO]:
    """Where to write what goes to a file or a stream: a file is seen under its name only when all of it is there."""
    if not isinstance(place, str | os.PathLike):
        yield place
        return
    with whole(Path(os.path.abspath(place)), record=attempt()) as part:
        yield str(part)


def _video_stream(container: object) -> object:
    if not container.streams.video:
        raise ValueError("the file has no video stream")
    return container.streams.video[0]


def _sound_stream(target: object, audio: AudioInput | None) -> object:
    if audio is None:
        return None
    layout = "mono" if audio["waveform"].shape[1] == 1 else "stereo"
    return target.add_stream("aac", rate=int(audio["sample_rate"]), layout=layout)


def _write_sound(target: object, stream: object, audio: AudioInput, seconds: Fraction) -> None:
    """The sound, cut to the length of the pictures."""
    rate = int(audio["sample_rate"])
    waveform = audio["waveform"][0, :2, : int(seconds * rate)].float().cpu().contiguous().numpy()
    frame = pyav().AudioFrame.from_ndarray(waveform, format="fltp", layout=stream.layout.name)
    frame.sample_rate, frame.pts = rate, 0
    target.mux(stream.encode(frame))
    target.mux(stream.encode(None))


def _texts(metadata: dict[str, object] | None) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in (metadata or {}).items()}


def _parsed(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _mp4_options(name: str) -> dict[str, str]:
    """MP4 files keep metadata of any name."""
    return {"movflags": "use_metadata_tags"} if name == "mp4" else {}
