"""Small pictures, sounds and files of them for tests of media nodes. No product code."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
import torch


def bars(count=4, height=48, width=64, channels=3):
    """Frames of dark red with one bright bar, at another place in each."""
    images = torch.zeros(count, height, width, channels)
    images[..., 0] = 0.4
    if channels == 4:
        images[..., 3] = 1.0
    for number in range(count):
        images[number, :, number % 8 * 8 : number % 8 * 8 + 8, 1] = 1.0
    return images


def bar_of(frame):
    """Which of eight columns is bright."""
    return int(np.asarray(frame)[..., 1].astype(float).reshape(frame.shape[0], 8, -1).mean((0, 2)).argmax())


def tone(seconds=0.5, rate=44100, channels=1, batch=1, hertz=440):
    """A sine of half the full scale."""
    wave = 0.5 * torch.sin(torch.arange(int(seconds * rate)) * (6.2831853 * hertz / rate))
    return {"waveform": wave.repeat(batch, channels, 1), "sample_rate": rate}


@dataclass
class Read:
    """What a video file holds."""

    codec: str
    pix_fmt: str
    tag: str
    rate: object
    colours: tuple
    frames: list
    duration: int  # microseconds
    metadata: dict
    sounds: list  # (codec, rate, channels)


def read(path):
    """A video file, decoded."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        about = stream.codec_context
        return Read(
            codec=stream.codec.name,
            pix_fmt=about.pix_fmt,
            tag=about.codec_tag,
            rate=stream.average_rate,
            colours=(about.color_range, about.colorspace, about.color_primaries, about.color_trc),
            frames=[frame.to_ndarray(format="rgb24") for frame in container.decode(stream)],
            duration=container.duration,
            metadata=dict(container.metadata),
            sounds=[(sound.codec.name, sound.rate, sound.channels) for sound in container.streams.audio],
        )


def delayed(path, target_path, seconds):
    """Copy a video so that its times begin so late."""
    with av.open(str(path)) as source, av.open(str(target_path), mode="w") as target:
        copies = {stream: target.add_stream_from_template(stream, opaque=True) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                late = round(seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + late, packet.dts + late, copies[packet.stream]
                target.mux(packet)


def turned(path, target_path, degrees):
    """Copy a video so that players turn it by so many degrees against the clock, as phones write theirs."""
    with av.open(str(path)) as source, av.open(str(target_path), mode="w") as target:
        pictures = source.streams.video[0]
        copy = target.add_stream_from_template(pictures, opaque=True)
        copy.set_display_rotation(degrees)
        for packet in source.demux(pictures):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
