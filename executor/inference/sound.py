"""AUDIO values: read from files, written into files and streams, brought to other rates. Knows no nodes.

Files go through PyAV (FFmpeg), whose own resampler changes rates: there is no torchaudio here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.media import Source, container_options, encoding, origin_s, pyav, reading, refuse_unknown
from executor.inference.values import Audio

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
SOUND_FORMATS = {"flac": ("flac", "flac"), "mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus")}
"""Ending of a sound file -> its format and encoder, as FFmpeg calls them."""


# ---------------------------------------------------------------- reading


def read_sound(source: Source, name: str = "", start_s: float = 0.0, seconds: float | None = None) -> Audio | None:
    """The first sound stream of a file [1, C, T] from `start_s` on; None when the file has none.

    NodeInputError when the file is damaged, FileNotFoundError when it is not there.
    """
    with reading(source, name) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        rate = int(stream.rate or 0)
        resampler = pyav().AudioResampler(format="fltp", rate=rate)
        start_s += origin_s(container)
        end_s = math.inf if seconds is None else start_s + seconds
        begins_s, frames = _wanted(container.decode(stream), start_s, end_s)
        parts = [part.to_ndarray() for frame in frames for part in resampler.resample(frame)]
        parts += [part.to_ndarray() for part in (resampler.resample(None) if parts else ())]
        channels = int(stream.channels)
    waveform = np.concatenate(parts, axis=1) if parts else np.zeros((channels, 0), dtype=np.float32)
    waveform = waveform[:, round(max(0.0, start_s - begins_s) * rate) :]
    if seconds is not None:
        waveform = waveform[:, : round(seconds * rate)]
    return {"waveform": torch.from_numpy(waveform.astype(np.float32))[None], "sample_rate": rate}


def _wanted(frames: Iterator[AudioFrame], start_s: float, end_s: float) -> tuple[float, Iterator[AudioFrame]]:
    """When the first decoded piece begins that reaches into a time, and that and all further ones in it."""
    for first in frames:
        begins_s = _begin_s(first)
        if begins_s + first.samples / first.sample_rate > start_s:
            inside = takewhile(lambda frame: _begin_s(frame) < end_s, chain([first], frames))
            return begins_s, inside
    return start_s, iter(())


def _begin_s(frame: AudioFrame) -> float:
    return frame.time if frame.time is not None else 0.0


# ---------------------------------------------------------------- values


def checked(audio: object, field: str = "audio") -> Audio:
    """The AUDIO of an input; NodeInputError when it is none."""
    if not isinstance(audio, Mapping) or not {"waveform", "sample_rate"} <= set(audio):
        raise NodeInputError(f"input {field!r}: {type(audio).__name__} is no sound; it needs waveform and sample_rate")
    waveform, rate = audio["waveform"], int(audio["sample_rate"])
    if not isinstance(waveform, Tensor) or waveform.ndim != 3:
        shape = list(waveform.shape) if isinstance(waveform, Tensor) else type(waveform).__name__
        raise NodeInputError(f"input {field!r}: a waveform has the shape [batch, channels, samples], not {shape}")
    if rate < 1:
        raise NodeInputError(f"input {field!r}: {rate} is no sample rate; take for example 44100")
    return {"waveform": waveform, "sample_rate": rate}


def resampled(audio: Audio, rate: int) -> Audio:
    """The same sound at another rate."""
    if audio["sample_rate"] == rate:
        return audio
    pieces = []
    for piece in audio["waveform"]:
        rows = [_resample_row(row, audio["sample_rate"], rate) for row in piece]
        pieces.append(torch.stack(rows))
    return {"waveform": torch.stack(pieces), "sample_rate": rate}


def _resample_row(row: Tensor, before: int, rate: int) -> Tensor:
    """One channel at another rate: polyphase filtering with a Kaiser window (Crochiere & Rabiner 1983)."""
    from scipy.signal import resample_poly

    ratio = Fraction(rate, before)
    changed = resample_poly(row.detach().float().cpu().numpy(), ratio.numerator, ratio.denominator)
    return torch.from_numpy(np.ascontiguousarray(changed, dtype=np.float32)).to(row.device)


# ---------------------------------------------------------------- writing


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundEncoding:
    """How sound becomes a stream in a file."""

    codec: str
    options: Mapping[str, str] = field(default_factory=dict)


def sound_stream(target: OutputContainer, codec: str, audio: Audio, options: Mapping[str, str]) -> AudioStream:
    """A stream for a sound in an open file; opus gets the next rate that it knows, more than two channels are mixed."""
    rate = audio["sample_rate"]
    if codec == "libopus" and rate not in OPUS_RATES:
        rate = next((known for known in OPUS_RATES if known > rate), OPUS_RATES[-1])
    if codec == "libmp3lame":
        rate = _nearest_mp3_rate(rate)
    layout = "mono" if audio["waveform"].shape[1] == 1 else "stereo"
    stream: AudioStream = target.add_stream(codec, rate=rate, layout=layout, options=dict(options))  # type: ignore[assignment]  # a sound codec gives a sound stream
    return stream


def _nearest_mp3_rate(rate: int) -> int:
    known = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
    return next((each for each in known if each >= rate), known[-1])


def blocks(waveform: Tensor, rate: int) -> Iterator[AudioFrame]:
    """A waveform [C, T] as FFmpeg's frames of a second each; NodeInputError for more than eight channels."""
    channels = waveform.shape[0]
    layout = LAYOUTS.get(channels)
    if layout is None:
        raise NodeInputError(f"input 'audio': sound of {channels} channels cannot be encoded; take 1 to 8")
    values = torch.nan_to_num(waveform.detach().float().cpu()).clamp(-1.0, 1.0)
    for begin in range(0, values.shape[1], rate):
        block = np.ascontiguousarray(values[:, begin : begin + rate].numpy())
        frame = pyav().AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        yield frame


def encoded(stream: AudioStream, waveform: Tensor, rate: int) -> Iterator[Any]:
    """A waveform [C, T] as the packets of a stream, the last ones included."""
    resampler = pyav().AudioResampler(format=stream.codec_context.format, layout=stream.layout, rate=stream.rate)
    for frame in blocks(waveform, rate):
        for part in resampler.resample(frame):
            yield from stream.encode(part)
    for part in resampler.resample(None):
        yield from stream.encode(part)
    yield from stream.encode(None)


def write_sound(
    path: Path, waveform: Tensor, rate: int, ending: str, quality: str, metadata: Mapping[str, str]
) -> None:
    """Write a waveform [C, T] as flac, mp3 or opus; `quality` is a bit rate ("128k") or "V0", mp3's best variable one.

    NodeInputError for another ending or more channels than eight.
    """
    if ending not in SOUND_FORMATS:
        raise NodeInputError(f"sound is written as {', '.join(SOUND_FORMATS)}, not {ending!r}")
    container, codec = SOUND_FORMATS[ending]
    audio: Audio = {"waveform": waveform[None], "sample_rate": rate}
    options: dict[str, str] = {}
    if ending != "flac" and quality == "V0":
        options["q"] = "0"
    with encoding(f"encoding with {codec}"), pyav().open(str(path), mode="w", format=container) as target:
        target.metadata.update(metadata)
        stream = sound_stream(target, codec, audio, options)
        if ending != "flac" and quality.endswith("k"):
            stream.bit_rate = int(quality[:-1]) * 1000
        for packet in encoded(stream, waveform, rate):
            target.mux(packet)


# ---------------------------------------------------------------- beside pictures


def fitted(waveform: Tensor, rate: int, seconds: float) -> Tensor:
    """A waveform [C, T] cut, or filled up with silence, to a length."""
    samples = round(seconds * rate)
    return torch.nn.functional.pad(waveform[:, :samples], (0, max(0, samples - waveform.shape[1])))


def add_sound(video: Path, target_path: Path, container: str, how: SoundEncoding, audio: Audio, *, trim: bool) -> None:
    """Copy a silent video into a new file together with the first sound of `audio`.

    The sound is cut to the pictures' length; where it is shorter, silence follows, or with `trim` the pictures end
    with it. Errors as of `encode_video`.
    """
    av, rate = pyav(), audio["sample_rate"]
    options = container_options(container)
    with encoding(f"encoding sound with {how.codec}"), av.open(str(video)) as source:
        pictures = source.streams.video[0]
        seconds = _length_s(source, pictures)
        waveform = audio["waveform"][0]
        end_s = min(seconds, waveform.shape[1] / rate) if trim else seconds
        with av.open(str(target_path), mode="w", format=container, options=options) as target:
            target.metadata.update({key: text for key, text in source.metadata.items() if is_ours(key)})
            copy = target.add_stream_from_template(pictures, opaque=True)  # as it is, encoder or not
            if container in ("mp4", "mov"):  # players of Apple take H.265 by its tag
                copy.codec_context.codec_tag = pictures.codec_context.codec_tag
            sound = sound_stream(target, how.codec, audio, how.options)
            packets = encoded(sound, fitted(waveform, rate, end_s), rate)
            for packet in _by_time(source.demux(pictures), packets, end_s):
                if packet.stream is pictures:
                    packet.stream = copy
                target.mux(packet)
            refuse_unknown(how.codec, how.options, sound.codec_context.options)


def _length_s(source: Any, pictures: Any) -> float:  # noqa: ANN401  # containers and streams of several kinds
    if source.duration is not None:
        return float(source.duration) / float(pyav().time_base)
    return float(pictures.duration * pictures.time_base)


def is_ours(key: str) -> bool:
    """Tell whether metadata came from a user: the rest is the file format's own."""
    return key.lower() not in ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")


def _by_time(pictures: Iterator[Any], sounds: Iterator[Any], end_s: float) -> Iterator[Any]:
    """Packets of both in the order of their times, so that the file can be played while it is read."""
    waiting = next(sounds, None)
    for packet in pictures:
        if packet.dts is None or float(packet.dts * packet.time_base) >= end_s:
            continue  # by the order of decoding: what is kept needs nothing that is left out
        while waiting is not None and time_s(waiting) <= float(packet.dts * packet.time_base):
            yield waiting
            waiting = next(sounds, None)
        yield packet
    while waiting is not None:
        yield waiting
        waiting = next(sounds, None)


def time_s(packet: Any) -> float:  # noqa: ANN401  # as above
    """When a packet is shown or heard, in seconds."""
    return float((packet.pts or 0) * packet.time_base)
