"""Which frames of a video are loaded, and at what size (reference/vhs_video_combine.md section 5). Knows no nodes.

Frames are picked while they are decoded: what is left out is never kept, and decoding ends with the last one wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image as PilImage

from executor import context
from executor.errors import NodeInputError
from executor.inference.media import rate_of, reading
from executor.inference.sound import read_sound
from executor.inference.values import Audio, Image, Mask
from executor.inference.video_decoding import Values, frame_values, has_alpha, stacked, video_stream

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

T = TypeVar("T")
RGB, RGBA = 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFormat:
    """What a model wants of videos: sides in multiples of `side`, counts of `step` times any number plus `rest`."""

    side: int = 1
    step: int = 1
    rest: int = 0


LOAD_FORMATS: Mapping[str, LoadFormat] = {
    "None": LoadFormat(),
    "AnimateDiff": LoadFormat(side=8),
    "Mochi": LoadFormat(side=16, step=6, rest=1),
    "LTXV": LoadFormat(side=32, step=8, rest=1),
    "Hunyuan": LoadFormat(side=16, step=4, rest=1),
    "Cosmos": LoadFormat(side=8, step=8, rest=1),
    "Wan": LoadFormat(side=8, step=4, rest=1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which part of a video is asked for; 0 leaves rate, width, height and number as they are."""

    force_rate: float = 0.0
    width: int = 0
    height: int = 0
    cap: int = 0
    skip: int = 0
    every: int = 1
    start_s: float = 0.0
    form: LoadFormat = LoadFormat()
    alpha: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Frames [B, H, W, 3], their alpha [B, H, W] if it was asked for and is there, and numbers about both sides."""

    images: Image
    alpha: Mask | None
    info: dict[str, float | int]


def load_video(path: str, name: str, wanted: Wanted) -> Loaded:
    """The wanted frames of a file; NodeInputError when it is damaged, has no video or none of the frames."""
    with reading(path, name) as container:
        stream = video_stream(container)
        rate = Fraction(stream.average_rate or stream.guessed_rate or 1)
        shown = rate_of(wanted.force_rate, "force_rate") if wanted.force_rate else rate
        channels = RGBA if wanted.alpha and has_alpha(stream) else RGB
        decoded = frame_values(container, channels, wanted.start_s)
        first = next(decoded, None)
        if first is None:
            raise NodeInputError(f"{name}: there are no pictures in it from {wanted.start_s} s on")
        height, width = first.shape[:2]  # upright, which the stream's own are not
        size = target_size(width, height, wanted.width, wanted.height, wanted.form.side)
        source = {**_source_info(container, stream, rate), "source_width": width, "source_height": height}
        frames = sampled(chain([first], decoded), rate, shown)
        stop = wanted.skip + wanted.cap * wanted.every if wanted.cap else None
        picked = islice(frames, wanted.skip, stop, wanted.every)
        values = list(_checked_often(fitted_values(frame, *size) for frame in picked))
    kept = values[: whole_count(len(values), wanted.form)]
    if not kept:
        raise NodeInputError(f"{name}: no frames are left of {source['source_frame_count']} after skipping and picking")
    fps = float(shown / wanted.every)
    info = {"loaded_fps": fps, "loaded_frame_count": len(kept), "loaded_duration": len(kept) / fps,
            "loaded_width": size[0], "loaded_height": size[1]}  # fmt: skip
    alpha = stacked([frame[..., 3:] for frame in kept]) if channels == RGBA else None
    images = stacked([frame[..., :3] for frame in kept])
    assert images is not None
    return Loaded(images=images, alpha=None if alpha is None else alpha[..., 0], info={**source, **info})


def _source_info(container: InputContainer, stream: VideoStream, rate: Fraction) -> dict[str, float | int]:
    duration = container.duration / 1_000_000 if container.duration is not None else 0.0
    count = stream.frames or round(duration * rate)
    return {
        "source_fps": float(rate),
        "source_frame_count": count,
        "source_duration": duration or float(count / rate),
    }


def _checked_often(frames: Iterable[Values]) -> Iterator[Values]:
    here = context.current()
    for frame in frames:
        here.check_interrupt()
        yield frame


# ---------------------------------------------------------------- which frames


def sampled(frames: Iterable[T], rate: Fraction, wanted: Fraction) -> Iterator[T]:
    """Frames of a `rate` on a clock of another one: at each of its ticks the last frame that is not later."""
    tick = 0
    for number, frame in enumerate(frames):
        while tick * rate < (number + 1) * wanted:  # the next frame comes later than this tick
            yield frame
            tick += 1


def whole_count(count: int, form: LoadFormat) -> int:
    """The largest number of frames up to `count` that a format takes."""
    if form.step == 1:
        return count
    return max(0, (count - form.rest) // form.step) * form.step + form.rest if count >= form.rest else 0


def target_size(width: int, height: int, wanted_width: int, wanted_height: int, side: int) -> tuple[int, int]:
    """Width and height to load a picture at: 0 keeps the proportions, and both are multiples of `side`."""
    if wanted_width and not wanted_height:
        wanted_height = height * wanted_width / width  # type: ignore[assignment]  # rounded below
    elif wanted_height and not wanted_width:
        wanted_width = width * wanted_height / height  # type: ignore[assignment]  # as above
    elif not wanted_width:
        wanted_width, wanted_height = width, height
    rounded = (max(side, round(length / side) * side) for length in (wanted_width, wanted_height))
    new_width, new_height = rounded
    return new_width, new_height


def fitted_values(values: Values, width: int, height: int) -> Values:
    """A picture [H, W, C] of 8-bit values cut around its middle to other proportions and scaled (Lanczos)."""
    old_height, old_width = values.shape[:2]
    if (old_width, old_height) == (width, height):
        return values
    scale = min(old_width / width, old_height / height)
    across, down = width * scale, height * scale
    left, top = (old_width - across) / 2, (old_height - down) / 2
    box = (left, top, left + across, top + down)
    picture = PilImage.fromarray(values).resize((width, height), PilImage.Resampling.LANCZOS, box=box)
    return np.asarray(picture)


# ---------------------------------------------------------------- sound


class LazySound(Mapping[str, object]):
    """The sound of a file, read when it is first looked at; NodeInputError then, when there is none."""

    def __init__(self, path: str, name: str, start_s: float = 0.0, seconds: float | None = None) -> None:
        self._path, self._name, self._start_s, self._seconds = path, name, start_s, seconds
        self._read: Audio | None = None

    def sound(self) -> Audio:
        """The sound itself."""
        if self._read is None:
            self._read = read_sound(self._path, self._name, self._start_s, self._seconds)
            if self._read is None:
                raise NodeInputError(f"{self._name} holds no sound")
        return self._read

    def __getitem__(self, key: str) -> object:
        return self.sound()[key]  # type: ignore[literal-required]  # a KeyError says it

    def __iter__(self) -> Iterator[str]:
        return iter(("waveform", "sample_rate"))

    def __len__(self) -> int:
        return 2
