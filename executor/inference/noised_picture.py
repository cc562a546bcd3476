"""The picture that an upscaling network sees beside its latents: noised to a level that the network is told.

Ho et al. 2021, arXiv:2106.15282 (conditioning augmentation). Knows no network and no node.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from executor.inference.extras import Options, Situation, number
from executor.inference.pixels import common_upscale

LEVELS = 350  # that the x4 upscaler was trained with
COLOURS = 3
SEED = 0  # both sides of the guidance see the same noise, and so does every run


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisedPicture:
    """Three more channels, and the number of their noise level."""

    alpha_bars: tuple[float, ...]  # share of the picture that is left at each level, squared

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`c_concat`: the conditioning's picture [1 or B, 3, H, W] in -1..1, at the latents' size; `y`: its level.

        `noise_augmentation` 0..1 chooses the level. Without a picture it is grey.
        """
        height, width = situation.shape[-2:]
        picture = options.get("concat_image")
        if not isinstance(picture, Tensor):
            picture = torch.zeros(1, COLOURS, height, width)
        small = picture.float()
        if small.shape[-2:] != (height, width):
            small = common_upscale(small, width, height, "bilinear", "center")
        level = round((LEVELS - 1) * min(1.0, max(0.0, number(options, "noise_augmentation", 0.0))))
        noise = torch.randn(small.shape, generator=torch.Generator().manual_seed(SEED))
        left = self.alpha_bars[level]
        noised = small.cpu() * left**0.5 + noise * (1.0 - left) ** 0.5
        return {"c_concat": noised, "y": torch.full((1, 1), float(level))}
