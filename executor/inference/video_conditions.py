"""What leads a video or is kept to by it, as latents and masks: pictures, controls, parts that stay. Knows no network.

Forms are those of Wan 2.1's picture to video, VideoX-Fun's controls and VACE (Jiang et al. 2025, arXiv:2503.07598).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from executor.inference.context_windows import latent_frames
from executor.inference.latent_formats import LatentFormat
from executor.inference.pixels import common_upscale
from executor.inference.values import Image, Mask
from executor.inference.video_latent_formats import WAN21, WAN22

GREY = 0.5
PER_LATENT = 4  # pictures of a latent frame, but for the first
FORMATS = {each.channels: each for each in (WAN21, WAN22)}


class VideoEncoder(Protocol):
    """What turns pictures into latents."""

    @property
    def latent_channels(self) -> int:
        """Channels of its latents."""
        ...

    def spacial_compression_encode(self) -> int:
        """Pixels per latent cell, each way."""
        ...

    def encode(self, pixels: Image) -> Tensor:
        """Latents [1, C, f, h, w] of a video [F, H, W, 3]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSize:
    """How large a video is to be, in pixels, and how many pictures long."""

    width: int
    height: int
    length: int

    @property
    def frames(self) -> int:
        """Its latent frames."""
        return latent_frames(self.length, PER_LATENT)

    def cells(self, encoder: VideoEncoder) -> tuple[int, int, int]:
        """Its latent frames, rows and columns."""
        cell = encoder.spacial_compression_encode()
        return self.frames, self.height // cell, self.width // cell

    def fitted(self, pictures: Image) -> Image:
        """Pictures' colours [F, H, W, 3], no more than it is long, cut around the middle to its size."""
        kept = pictures[: self.length, ..., :3].movedim(-1, 1)
        return common_upscale(kept, self.width, self.height, "bilinear", "center").movedim(1, -1)

    def grey(self) -> Image:
        """Pictures of nothing."""
        return torch.full((self.length, self.height, self.width, 3), GREY)


def empty_video(encoder: VideoEncoder, size: VideoSize, count: int, more: int = 0) -> Tensor:
    """Latents [count, C, f + more, h, w] of nothing yet."""
    frames, rows, columns = size.cells(encoder)
    return torch.zeros(count, encoder.latent_channels, frames + more, rows, columns)


def nothing(latents: Tensor) -> Tensor:
    """Latents of the same shape that are zeros in the network's scale."""
    return latent_format(latents).process_out(torch.zeros_like(latents))


def latent_format(latents: Tensor) -> LatentFormat:
    """The format of a video's latents, by their channels."""
    return FORMATS.get(latents.shape[1], WAN21)


def given_pictures(
    encoder: VideoEncoder, size: VideoSize, first: Image | None, last: Image | None = None
) -> tuple[Tensor, Tensor]:
    """Latents [1, C, f, h, w] of a video whose first and last pictures are given and the others grey, and its mask.

    The mask [1, 4, f, h, w] is 0 where a picture is given, for each of the pictures of a latent frame; the first
    picture stands for all of its own.
    """
    video, drawn = size.grey(), torch.ones(size.length)
    for pictures, at_end in ((first, False), (last, True)):
        if pictures is not None and len(pictures):
            fitted = size.fitted(pictures[-size.length :] if at_end else pictures)
            place = slice(size.length - len(fitted), None) if at_end else slice(len(fitted))
            video[place], drawn[place] = fitted, 0.0
    latents = encoder.encode(video)
    ends = 1 + PER_LATENT * (size.frames - 1)  # pictures at the end that make no latent frame are left out
    each = torch.cat([drawn[:1].expand(PER_LATENT - 1), drawn[:ends]]).reshape(size.frames, PER_LATENT)
    return latents, each.T[None, :, :, None, None].expand(-1, -1, -1, *latents.shape[-2:]).contiguous()


def controlled(encoder: VideoEncoder, size: VideoSize, control: Image | None, first: Image | None = None) -> Tensor:
    """Latents [1, 2 C, f, h, w] of a control and, behind its channels, of the first pictures; zeros for what lacks."""
    parts = []
    for pictures in (control, first):
        part = nothing(empty_video(encoder, size, 1))
        if pictures is not None and len(pictures):
            latents = encoder.encode(size.fitted(pictures))[:, :, : part.shape[2]]
            part[:, :, : latents.shape[2]] = latents
        parts.append(part)
    return torch.cat(parts, dim=1)


def begun_video(encoder: VideoEncoder, size: VideoSize, first: Image) -> tuple[Tensor, Tensor]:
    """Latents [1, C, f, h, w] whose first frames are given, and the mask [1, 1, f, h, w] of those to draw."""
    samples = nothing(empty_video(encoder, size, 1))
    latents = encoder.encode(size.fitted(first))[:, :, : samples.shape[2]]
    samples[:, :, : latents.shape[2]] = latents
    mask = torch.ones(1, 1, *samples.shape[2:])
    mask[:, :, : latents.shape[2]] = 0.0
    return samples, mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptVideo:
    """A video that is kept to, and where."""

    latents: Tensor  # [1, 2 C, f, h, w]: what stays, and behind its channels what is drawn anew
    mask: Tensor  # [1, 64, f, h, w]: the pixels of each cell, 1 where it is drawn
    more: int  # frames at the start that are a picture's


def kept_video(
    encoder: VideoEncoder, size: VideoSize, video: Image | None, mask: Mask | None, picture: Image | None
) -> KeptVideo:
    """Of a video [F, H, W, C], a mask [F, H, W] of what is drawn anew, and a picture that is seen before all frames.

    What lacks of the video is grey, what lacks of the mask is drawn.
    """
    shown = size.grey()
    if video is not None:
        fitted = size.fitted(video)
        shown[: len(fitted)] = fitted
    drawn = torch.ones(size.length, size.height, size.width)
    if mask is not None:
        planes = mask.reshape(-1, 1, *mask.shape[-2:])[: size.length].float()
        fitted_mask = common_upscale(planes, size.width, size.height, "bilinear", "center")[:, 0]
        drawn[: len(fitted_mask)] = fitted_mask
    where, colours = drawn[..., None], shown - GREY
    sides = [encoder.encode(colours * share + GREY) for share in (1.0 - where, where)]
    latents, cells = torch.cat(sides, dim=1), pixels_of_cells(drawn, encoder.spacial_compression_encode(), size.frames)
    if picture is None:
        return KeptVideo(latents=latents, mask=cells, more=0)
    seen = encoder.encode(size.fitted(picture[:1]))
    latents = torch.cat([torch.cat([seen, nothing(seen)], dim=1), latents], dim=2)
    more = seen.shape[2]
    return KeptVideo(latents=latents, mask=functional.pad(cells, (0, 0, 0, 0, more, 0)), more=more)


def pixels_of_cells(mask: Mask, cell: int, frames: int) -> Tensor:
    """The pixels of each cell of a mask [F, H, W] as channels [1, cell * cell, frames, H / cell, W / cell]."""
    length, height, width = mask.shape
    squares = mask.reshape(length, height // cell, cell, width // cell, cell).permute(2, 4, 0, 1, 3).flatten(0, 1)
    return functional.interpolate(squares[None], size=(frames, *squares.shape[-2:]), mode="nearest-exact")
