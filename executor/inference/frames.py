"""Pictures of a batch one at a time, in the order they are shown, as the values files hold. Knows no format.

Nothing here holds a second copy of a batch: a latent is decoded in groups, and only the last group is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image as PilImage
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.pixels import to_rounded
from executor.inference.values import Image, Latent

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

VIDEO = 5  # dimensions of latents or pictures of videos
DECODED_PIXELS = 1920 * 1080 * 16
"""Pixels that are decoded at a time (reference/vhs_video_combine.md section 2)."""
Values = np.ndarray[tuple[int, ...], np.dtype[Any]]


class Decoder(Protocol):
    """What latents are made pictures with."""

    @property
    def downscale_ratio(self) -> int:
        """Pixels per latent cell, each way."""
        ...

    def temporal_compression_decode(self) -> int | None:
        """Pictures per latent frame; None: it knows single pictures."""
        ...

    def decode(self, samples: Tensor) -> Image:
        """Pictures [B, H, W, C]; of latents of videos [B, F, H, W, C]."""
        ...


class Pictures:
    """Pictures [B, H, W, C] by their number."""

    def __init__(self, images: Image) -> None:
        if images.ndim != 4:
            raise NodeInputError(f"input 'images': pictures have the shape [B, H, W, C], not {list(images.shape)}")
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> Tensor:
        return self._images[number]


class DecodedLatents:
    """The pictures of latents by their number, decoded when they are asked for; those of a video together."""

    def __init__(self, latent: Latent, vae: Decoder) -> None:
        self._samples, self._vae = latent["samples"], vae
        height, width = (side * vae.downscale_ratio for side in self._samples.shape[-2:])
        self._group, self._each = max(1, DECODED_PIXELS // (width * height)), 1
        if self._samples.ndim == VIDEO:
            self._group = 1
            self._each = 1 + (self._samples.shape[2] - 1) * (vae.temporal_compression_decode() or 1)
        self._begin, self._decoded = 0, None  # type: int, Image | None

    def __len__(self) -> int:
        return len(self._samples) * self._each

    def __getitem__(self, number: int) -> Tensor:
        begin = number - number % (self._group * self._each)
        if self._decoded is None or self._begin != begin:
            self._decoded = None  # let go before the next ones are made
            first = begin // self._each
            decoded = self._vae.decode(self._samples[first : first + self._group])
            self._decoded = decoded.flatten(0, 1) if decoded.ndim == VIDEO else decoded
            self._begin = begin
        return self._decoded[number - begin]


def shown_order(count: int, pingpong: bool, plays: int = 1) -> list[int]:
    """Which frame is shown when: forth, with `pingpong` back without both ends, all that `plays` times."""
    order = list(range(count))
    if pingpong:
        order += order[-2:0:-1]
    return order * plays


def file_values(picture: Tensor, bits: int = 8, alignment: int = 1) -> Values:
    """A picture [H, W, C] as rounded values [H', W', 3 or 4]; sides grow to multiples of `alignment` by their edges."""
    channels = picture.shape[-1]
    coloured = picture[..., :4] if channels == 4 else picture[..., :3] if channels > 4 else picture
    if channels < 3:
        coloured = picture[..., :1].expand(*picture.shape[:-1], 3)
    values = to_rounded(coloured, bits)
    missing = [-side % alignment for side in values.shape[:2]]
    if any(missing):
        values = np.pad(values, [(side // 2, side - side // 2) for side in missing] + [(0, 0)], mode="edge")
    return values


class FrameSequence(PilImage.Image):
    """Frames as one picture of many, as Pillow's writers take it: each is made when its values are read.

    `frames` gives all of them from the first one on; it is called again when a writer goes back.
    """

    def __init__(self, frames: Callable[[], Iterator[Values]], count: int) -> None:
        super().__init__()
        self._make, self._frames, self.n_frames = frames, frames(), count
        self._at, self._sought = -1, 0
        self.load()

    def seek(self, frame: int) -> None:
        """Go to a frame; EOFError behind the last one."""
        if frame >= self.n_frames:
            raise EOFError
        self._sought = frame

    def tell(self) -> int:
        """The number of the frame it is at."""
        return self._sought

    def load(self) -> PixelAccess | None:
        """Make the frame that was sought, and those before it that were not made yet."""
        if self._at > self._sought:
            self._frames, self._at = self._make(), -1
        while self._at < self._sought:
            picture = PilImage.fromarray(next(self._frames))
            self._im, self._mode, self._size = picture.im, picture.mode, picture.size
            self._at += 1
        return super().load()
