"""A picture as what leads a network: its meaning, and its latents beside the noisy ones. Knows no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.pixels import common_upscale
from executor.inference.values import Image

CELL = 8  # pixels per latent cell
SEED = 0
Options = dict[str, Tensor]


class Seen(Protocol):
    """What a vision model says."""

    @property
    def image_embeds(self) -> Tensor | None:
        """Vectors [B, P]."""
        ...


class Eye(Protocol):
    """What turns pictures into vectors."""

    def encode_image(self, image: Image, crop: bool = True) -> Seen:
        """Vectors of pictures [B, H, W, C]."""
        ...


class PictureEncoder(Protocol):
    """What turns pictures into latents."""

    def encode(self, pixels: Image) -> Tensor:
        """Latents [B, C, H/8, W/8] of pictures [B, H, W, 3]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leading:
    """What a picture leads by."""

    meaning: Tensor  # [1, B, P], a token for each picture
    latents: Tensor  # [B, C, h, w] in the autoencoder's scale
    size: tuple[int, int]  # width and height in pixels

    def empty(self, count: int) -> Tensor:
        """Latents [count, 4, h, w] of nothing."""
        width, height = self.size
        return torch.zeros(count, 4, height // CELL, width // CELL)


def leading_picture(
    vision: Eye, encoder: PictureEncoder, picture: Image, size: tuple[int, int], noise: float = 0.0
) -> Leading:
    """What pictures [B, H, W, C] lead by, scaled and cut to `size` (width, height) for the latents.

    `noise` is the deviation of what is added to their colours in -1..1 before they are encoded, the same noise every
    time (Blattmann et al. 2023, arXiv:2311.15127, appendix D). Raises NodeInputError when the vision model has no
    projection.
    """
    embeds = vision.encode_image(picture).image_embeds
    if embeds is None:
        raise NodeInputError(
            "input 'clip_vision': this vision model has no projection, so it gives no picture's vector"
        )
    fitted = common_upscale(picture[..., :3].movedim(-1, 1), *size, "bilinear", "center").movedim(1, -1)
    if noise > 0:
        drawn = torch.randn(fitted.shape, generator=torch.Generator().manual_seed(SEED))
        fitted = fitted + drawn * noise / 2  # in 0..1 a half of what it is in -1..1
    return Leading(meaning=embeds.unsqueeze(0), latents=encoder.encode(fitted), size=size)


def video_sides(led: Leading) -> tuple[tuple[Tensor, Options], tuple[Tensor, Options]]:
    """Embedding and options of what to follow, and of nothing."""
    picture, nothing = led.latents, torch.zeros_like(led.latents)
    follow = led.meaning, {"concat_latent_image": picture}
    return follow, (torch.zeros_like(led.meaning), {"concat_latent_image": nothing})
