"""What unCLIP networks take beside text: vectors of pictures, noised. Knows no network and no node.

Ramesh et al. 2022 (arXiv:2204.06125); the form is that of Stable unCLIP (diffusers' pipeline of that name).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.extras import Options, Situation
from executor.inference.unet_layers import timestep_embedding

LEVELS = 1000
LARGEST_BETA = 0.999
OFFSET = 0.008


def cosine_alpha_bars(levels: int = LEVELS) -> Tensor:
    """Shares of signal [levels] (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17), no step losing nearly all."""
    places = torch.arange(levels + 1, dtype=torch.float64) / levels
    bars = ((places + OFFSET) / (1 + OFFSET) * math.pi / 2).cos() ** 2
    betas = (1 - bars[1:] / bars[:-1]).clamp(max=LARGEST_BETA)
    return (1 - betas).cumprod(dim=0).float()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PictureVectors:
    """The vector beside the time: noised pictures and how noisy they are."""

    width: int  # of a picture's vector
    mean: Tensor  # [1, width], what pictures' vectors are brought to before they are noised
    deviation: Tensor
    alpha_bars: Tensor  # [levels]

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`y` [1, 2 * width]: the sum of the pictures by their strengths; zeros without any.

        Raises NodeInputError for pictures seen by a vision model of another width.
        """
        total = torch.zeros(1, 2 * self.width)
        pictures = cast("Sequence[Mapping[str, object]]", options.get("unclip_conditioning") or ())
        for number, picture in enumerate(pictures):
            share = float(cast(float, picture["noise_augmentation"]))
            vectors = self.noised(self.vectors(picture["clip_vision_output"]), share, number)
            total = total + vectors.sum(dim=0, keepdim=True) * float(cast(float, picture["strength"]))
        return {"y": total}

    def vectors(self, output: object) -> Tensor:
        """The pictures' vectors [B, width] of what a vision model said."""
        embeds = getattr(output, "image_embeds", None)
        if not isinstance(embeds, Tensor) or embeds.shape[-1] != self.width:
            found = f"gave vectors of width {embeds.shape[-1]}" if isinstance(embeds, Tensor) else "gave none"
            reason = f"this model takes pictures' vectors of width {self.width}, and the vision model {found}"
            raise NodeInputError(f"{reason}. Take the CLIP_VISION of unCLIPCheckpointLoader")
        return embeds.float()

    def noised(self, vectors: Tensor, share: float, seed: int) -> Tensor:
        """Vectors [B, width] noised to a share 0..1 of all levels, with the level behind them [B, 2 * width]."""
        level = round((len(self.alpha_bars) - 1) * share)
        noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
        bar = self.alpha_bars[level]
        scaled = (vectors - self.mean) / self.deviation
        mixed = (bar.sqrt() * scaled + (1 - bar).sqrt() * noise) * self.deviation + self.mean
        told = timestep_embedding(torch.tensor([float(level)]), self.width)
        return torch.cat([mixed, told.expand(len(mixed), -1)], dim=1)
