"""The autoencoder of latent videos (Blattmann et al. 2023, arXiv:2311.15127): pictures in, frames out.

The encoder is that of pictures; the decoder's residual layers and its last convolution also look along the frames.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from executor.inference.vae_model import ImageAutoencoder, VaeShape
from executor.inference.video_layers import KERNEL, PADDING, TemporalResBlock

COLOURS = 3


class MixedResBlock(nn.Module):
    """A decoder's residual layer of pictures with one along the frames mixed in."""

    def __init__(self, spatial: nn.Module, width: int) -> None:
        super().__init__()
        self.spatial = spatial
        self.time_stack = TemporalResBlock(width, None)
        self.mix_factor = nn.Parameter(torch.empty(1))

    def forward(self, input_tensor: Tensor, temb: Tensor | None = None) -> Tensor:
        """Frames [F, C, H, W] of one video to [F, out, H, W]; `temb` is the place of a time that decoders have not."""
        x = self.spatial(input_tensor, temb)
        share = self.mix_factor.to(x).sigmoid()
        mixed: Tensor = share * self.time_stack(x, len(x)) + (1.0 - share) * x
        return mixed


class VideoAutoencoder(ImageAutoencoder):
    """Pictures [B, 3, H, W] in -1..1 to latents [B, C, H/8, W/8], and latents back as the frames of one video."""

    def __init__(self, shape: VaeShape) -> None:
        super().__init__(shape)
        middle = self.decoder.mid_block
        assert middle is not None  # diffusers' decoder always has one
        for block in (middle, *self.decoder.up_blocks):
            layers = cast(nn.ModuleList, block.resnets)
            block.resnets = nn.ModuleList(MixedResBlock(layer, cast(int, layer.out_channels)) for layer in layers)
        self.time_conv = nn.Conv3d(COLOURS, COLOURS, KERNEL, padding=PADDING)

    def decode(self, latent: Tensor) -> Tensor:
        """The frames [F, 3, H, W] of the latents [F, C, h, w] of one video."""
        frames = super().decode(latent).transpose(0, 1)[None]
        smooth: Tensor = self.time_conv(frames)
        return smooth[0].transpose(0, 1)


def autoencoder(shape: VaeShape) -> ImageAutoencoder:
    """The autoencoder of a shape, of pictures or of videos."""
    return VideoAutoencoder(shape) if shape.video else ImageAutoencoder(shape)
