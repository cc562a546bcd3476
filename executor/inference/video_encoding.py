"""Pictures one by one into a video file, through PyAV. Knows no nodes and where no file belongs.

A frame is an array [H, W, 3 or 4] of 8-bit or 16-bit values; it is encoded before the next one is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from executor.errors import NodeInputError
from executor.inference.media import container_options, encoding, pyav, refuse_unknown
from executor.inference.sound import SoundEncoding, encoded, sound_stream, time_s
from executor.inference.values import Audio

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Frame: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]

BT709 = 1  # the number of ITU-T H.273 for its primaries, its transfer and its matrix
LIMITED = 1  # FFmpeg's AVCOL_RANGE_MPEG
X265, X265_WIDTH = "libx265", 64
"""x265 4.2 writes behind its memory where its CU tree looks at pictures of three blocks of 16 pixels a row (Valgrind:
Lookahead::cuTree, 33 to 48 pixels wide): the process ended."""
NVIDIA = "_nvenc"  # what the names of encoders end with that compute on these GPUs
RAW = {(8, 3): "rgb24", (8, 4): "rgba", (16, 3): "rgb48le", (16, 4): "rgba64le"}
BIG_ENDIAN = {"rgb48le": "rgb48be", "rgba64le": "rgba64be"}
"""(bits, channels) -> how FFmpeg calls such frames, and how a PNG file keeps them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEncoding:
    """How pictures become a stream in a file."""

    container: str
    codec: str
    pix_fmt: str
    options: Mapping[str, str] = field(default_factory=dict)
    tag: str | None = None
    bits: int = 8
    bt709: bool = True  # converted to BT.709 in its limited range, and tagged so
    sound: str = "aac"  # the encoder of sound that comes along
    sounds: SoundEncoding | None = None  # how sound is added afterwards, where its pictures decide that
    strict: bool = False  # an option that the encoder has not is an error


def encode_video(
    path: Path | str | BinaryIO,
    frames: Iterable[Frame],
    rate: Fraction,
    how: VideoEncoding,
    metadata: Mapping[str, str] | None = None,
    audio: Audio | None = None,
) -> int:
    """Write frames of one size, `rate` of them per second, and the first sound of `audio`; how many frames there were.

    NodeInputError when the encoder is missing, cannot run here or refuses its options, or when there is no frame.
    """
    av = pyav()
    source = iter(frames)
    first = next(source, None)
    if first is None:
        raise NodeInputError("there are no pictures to make a video of")
    with encoding(_told(how.codec)), _quiet_svt():
        options = container_options(how.container)
        place = str(path) if isinstance(path, Path) else path
        with av.open(place, mode="w", format=how.container, options=options) as target:
            target.metadata.update(metadata or {})
            stream = _stream(target, first, rate, how)
            sounds = _sounds(target, how, audio)  # every stream has to be there before the first packet
            return _encode_all(target, stream, chain([first], source), rate, how, sounds)


def _told(codec: str) -> str:
    """What is being done, in words: what FFmpeg says where the GPU is missing names none."""
    return f"encoding with {codec}" + (", which needs an NVIDIA GPU and its driver," if codec.endswith(NVIDIA) else "")


def _sounds(target: OutputContainer, how: VideoEncoding, audio: Audio | None) -> Iterator[Packet[Any]]:
    if audio is None:
        return iter(())
    stream = sound_stream(target, how.sound, audio, {})
    return encoded(stream, audio["waveform"][0], audio["sample_rate"])


def _stream(target: OutputContainer, first: Frame, rate: Fraction, how: VideoEncoding) -> VideoStream:
    options = dict(how.options)
    if how.codec == X265 and first.shape[1] < X265_WIDTH:
        options["x265-params"] = ":".join([*filter(None, [options.get("x265-params")]), "cutree=0"])
    try:
        stream: VideoStream = target.add_stream(how.codec, rate=rate, options=options)  # type: ignore[assignment]  # a picture codec gives a picture stream
    except pyav().codec.codec.UnknownCodecError as failure:
        raise NodeInputError(f"this build of PyAV has no encoder {how.codec}") from failure
    try:
        stream.pix_fmt = how.pix_fmt
    except ValueError as failure:
        raise NodeInputError(f"input 'pix_fmt': FFmpeg knows no pixel format {how.pix_fmt!r}") from failure
    stream.height, stream.width = first.shape[:2]
    stream.time_base = 1 / rate
    context = stream.codec_context
    if how.tag is not None:
        context.codec_tag = how.tag
    if how.bt709:
        context.color_range = LIMITED
        context.colorspace = context.color_primaries = context.color_trc = BT709
    return stream


def _encode_all(
    target: OutputContainer,
    stream: VideoStream,
    frames: Iterable[Frame],
    rate: Fraction,
    how: VideoEncoding,
    sounds: Iterator[Packet[Any]],
) -> int:
    convert = _converter(how)
    number = -1
    waiting = next(sounds, None)
    for number, values in enumerate(frames):
        frame = convert(raw_frame(values, how.bits))
        frame.pts, frame.time_base = number, 1 / rate
        target.mux(stream.encode(frame))
        if how.strict and number == 0:
            refuse_unknown(how.codec, how.options, stream.codec_context.options)
        while waiting is not None and time_s(waiting) <= number / rate:  # sound goes along with the pictures
            target.mux(waiting)
            waiting = next(sounds, None)
    target.mux(stream.encode(None))
    if waiting is not None:
        target.mux([waiting, *sounds])
    return number + 1


def raw_frame(values: Frame, bits: int) -> VideoFrame:
    """An array as FFmpeg's frame; NodeInputError for channels that are neither RGB nor RGBA."""
    name = RAW.get((bits, values.shape[-1]))
    if name is None:
        raise NodeInputError(f"pictures of {values.shape[-1]} channels cannot be encoded; take 3 or 4")
    frame: VideoFrame = pyav().VideoFrame.from_ndarray(np.ascontiguousarray(values), format=name)
    return frame


def _converter(how: VideoEncoding) -> Callable[[VideoFrame], VideoFrame]:
    """What brings a raw frame to the stream's pixel format; one conversion table serves all frames.

    On one thread: with more, FFmpeg 8's scaler now and then leaves a row of a 10-bit picture undone.
    """
    reformatter = pyav().video.reformatter.VideoReformatter()
    ranges = pyav().video.reformatter.ColorRange
    colours: dict[str, Any] = {}
    if how.bt709:
        matrix = pyav().video.reformatter.Colorspace.ITU709
        colours = {"dst_colorspace": matrix, "src_color_range": ranges.JPEG, "dst_color_range": ranges.MPEG}

    def convert(frame: VideoFrame) -> VideoFrame:
        converted: VideoFrame = reformatter.reformat(frame, format=how.pix_fmt, threads=1, **colours)
        return converted

    return convert


@contextmanager
def _quiet_svt() -> Iterator[None]:
    """Have the AV1 encoder say errors only: it prints its settings otherwise, past every logger."""
    before = os.environ.get("SVT_LOG")
    os.environ["SVT_LOG"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["SVT_LOG"]
        else:
            os.environ["SVT_LOG"] = before


# ---------------------------------------------------------------- single pictures


def encode_png(values: Frame, bits: int) -> bytes:
    """One picture as a PNG file of 8 or 16 bits per channel."""
    av = pyav()
    frame = raw_frame(values, bits)
    with encoding("encoding as png"):
        context = av.CodecContext.create("png", "w")
        context.height, context.width = values.shape[:2]
        context.pix_fmt = BIG_ENDIAN.get(frame.format.name, frame.format.name)
        context.time_base = Fraction(1, 1)
        if context.pix_fmt != frame.format.name:
            frame = frame.reformat(format=context.pix_fmt, threads=1)
        frame.pts = 0
        return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


# ---------------------------------------------------------------- one palette for all frames


def encode_palette_gif(path: Path, frames: Callable[[], Iterable[Frame]], rate: Fraction, dither: str) -> int:
    """Write a GIF whose frames share the one palette that fits them all best; how many there were.

    `frames` is called twice: once to choose the colours, once to draw with them. Errors as of `encode_video`.
    """
    av = pyav()
    with encoding("encoding as gif"):
        palette = _palette(frames(), rate)
        written = 0
        with av.open(str(path), mode="w", format="gif") as target:
            stream = target.add_stream("gif", rate=rate)
            stream.pix_fmt, stream.time_base = "pal8", 1 / rate
            stream.height, stream.width = palette.size_of_frames
            for frame in _painted(frames(), rate, palette, dither):
                frame.pts, frame.time_base = written, 1 / rate
                target.mux(stream.encode(frame))
                written += 1
            target.mux(stream.encode(None))
    return written


@dataclass(frozen=True, slots=True)
class _Palette:
    colours: VideoFrame
    size_of_frames: tuple[int, int]  # height, width


def _palette(frames: Iterable[Frame], rate: Fraction) -> _Palette:
    av = pyav()
    graph = av.filter.Graph()
    source, size = None, (0, 0)
    for number, values in enumerate(frames):
        frame = raw_frame(values, 8)
        frame.pts, frame.time_base = number, 1 / rate
        if source is None:
            size = (values.shape[0], values.shape[1])
            source, chooser = _input(graph, frame, rate), graph.add("palettegen")
            sink = graph.add("buffersink")
            source.link_to(chooser)
            chooser.link_to(sink)
            graph.configure()
        source.push(frame)
    if source is None:
        raise NodeInputError("there are no pictures to make a video of")
    source.push(None)
    return _Palette(sink.pull(), size)


def _painted(frames: Iterable[Frame], rate: Fraction, palette: _Palette, dither: str) -> Iterator[VideoFrame]:
    av = pyav()
    graph = av.filter.Graph()
    source = None
    ended = (av.error.BlockingIOError, av.error.EOFError)
    for number, values in enumerate(frames):
        frame = raw_frame(values, 8)
        frame.pts, frame.time_base = number, 1 / rate
        if source is None:
            source, colours = _input(graph, frame, rate), _input(graph, palette.colours, rate)
            painter, sink = graph.add("paletteuse", f"dither={dither}"), graph.add("buffersink")
            source.link_to(painter, 0, 0)
            colours.link_to(painter, 0, 1)
            painter.link_to(sink)
            graph.configure()
            colours.push(palette.colours)
            colours.push(None)
        source.push(frame)
        yield from _pulled(sink, ended)
    if source is not None:
        source.push(None)
        yield from _pulled(sink, ended)


def _pulled(sink: Any, ended: tuple[type[Exception], ...]) -> Iterator[VideoFrame]:  # noqa: ANN401  # FFmpeg's filters have no public type
    while True:
        try:
            yield sink.pull()
        except ended:
            return


def _input(graph: Any, frame: VideoFrame, rate: Fraction) -> Any:  # noqa: ANN401  # as above
    return graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=1 / rate)
