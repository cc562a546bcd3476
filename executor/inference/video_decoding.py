"""Pictures out of video files, one after another. Knows no nodes and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from executor.errors import NodeInputError
from executor.inference.media import origin_s, pyav
from executor.inference.values import Image

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
EARLY_S = 1e-6  # times of frames are rounded
Values = np.ndarray[tuple[int, ...], np.dtype[Any]]


def video_stream(container: InputContainer) -> VideoStream:
    """The first video stream of an open file; NodeInputError if it has none."""
    if not container.streams.video:
        raise NodeInputError(f"{_name(container)} has no video stream")
    return container.streams.video[0]


def _name(container: InputContainer) -> str:
    return str(container.name).replace("\\", "/").rpartition("/")[2] or "the file"


def shown_size(container: InputContainer) -> tuple[int, int]:
    """Width and height of the first video stream as it is shown; its first picture is decoded, which tells the turn."""
    stream = video_stream(container)
    first = next(container.decode(stream), None)
    lies = first is not None and quarter_turns(first) % 2 == 1
    return (stream.height, stream.width) if lies else (stream.width, stream.height)


def quarter_turns(frame: VideoFrame) -> int:
    """How often a picture is turned by 90 degrees against the clock to be shown: phones film lying and say so."""
    return round(frame.rotation / 90) % 4


def frame_values(container: InputContainer, channels: int = 3, start_s: float = 0.0) -> Iterator[Values]:
    """Every picture of the first video stream from a time on, upright, as 8-bit values [H, W, 3 or 4].

    Conversion runs on one thread: see `video_encoding`.
    """
    stream = video_stream(container)
    stream.thread_type = "AUTO"
    if start_s > 0:
        start_s += origin_s(container)
        container.seek(int(start_s * 1_000_000))  # to the last key frame before
    reformatter = pyav().video.reformatter.VideoReformatter()
    name = "rgb24" if channels == 3 else "rgba"
    size = (stream.width, stream.height)  # a stream may change its own on the way
    for frame in _decoded(container, stream, alpha=channels > 3):
        if frame.time is None or frame.time >= start_s - EARLY_S:
            values = reformatter.reformat(frame, *size, name, threads=1).to_ndarray()
            yield np.ascontiguousarray(np.rot90(values, quarter_turns(frame)))


def has_alpha(stream: VideoStream) -> bool:
    """Tell whether its pictures have an alpha channel."""
    name = stream.codec_context.pix_fmt or ""
    kinds = ("rgba", "bgra", "argb", "abgr", "yuva", "gbrap", "ya8", "ya16", "pal8")
    return _alpha_decoder(stream) is not None or any(kind in name for kind in kinds)


def _alpha_decoder(stream: VideoStream) -> str | None:
    """The decoder for alpha that WebM keeps beside the pictures; FFmpeg's own decoders leave it out."""
    beside = stream.metadata.get("alpha_mode") == "1"
    return WITH_ALPHA.get(stream.codec_context.name) if beside else None


def _decoded(container: InputContainer, stream: VideoStream, *, alpha: bool) -> Iterator[VideoFrame]:
    decoder = _alpha_decoder(stream) if alpha else None
    if decoder is None:
        yield from container.decode(stream)
        return
    own: VideoCodecContext = pyav().CodecContext.create(decoder, "r")
    for packet in container.demux(stream):
        yield from own.decode(packet)


def read_frames(container: InputContainer) -> Image:
    """Every picture of the first video stream [B, H, W, 3]; NodeInputError if there is none."""
    images = stacked(frame_values(container))
    if images is None:
        raise NodeInputError(f"{_name(container)} has no pictures")
    return images


def stacked(frames: Iterable[Values]) -> Image | None:
    """8-bit pictures as one batch in 0..1; None for no pictures. Each array is let go as soon as its values are in."""
    kept: list[Values | None] = list(frames)
    if not kept or kept[0] is None:
        return None
    images = torch.empty(len(kept), *kept[0].shape)
    for number, values in enumerate(kept):
        images[number] = torch.from_numpy(np.asarray(values, dtype=np.float32)) / 255.0
        kept[number] = None
    return images
