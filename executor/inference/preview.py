"""A picture of a latent without its autoencoder: one linear map from channels to colours. Knows no sampler."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from executor.inference.latent_formats import LatentFormat


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LatentPreview:
    """The first picture of latents [B, C, H, W] in the network's scale, made only when somebody asks."""

    latent: Tensor
    latent_format: LatentFormat

    def image(self) -> Image.Image:
        """The picture, RGB, one pixel per latent cell."""
        return Image.fromarray(latent_pixels(self.latent, self.latent_format).numpy())


def latent_pixels(latent: Tensor, latent_format: LatentFormat) -> Tensor:
    """The first of latents [B, C, H, W] as uint8 [H, W, 3] by the format's colours per channel."""
    factors = torch.tensor(latent_format.rgb_factors, dtype=torch.float32)
    bias = torch.tensor(latent_format.rgb_bias, dtype=torch.float32)
    colours = latent[0].float().cpu().movedim(0, -1) @ factors + bias
    return ((colours + 1) / 2).clamp(0, 1).mul(255).to(torch.uint8)
