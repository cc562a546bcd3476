"""The autoencoder of latent diffusion (Rombach et al. 2022, arXiv:2112.10752), of diffusers' encoder and decoder.

Knows tensors in -1..1; scaling to pictures and batching are vae.py's.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class VaeShape:
    """Sizes of an autoencoder; widths from the picture's side inwards."""

    encoder_widths: tuple[int, ...] = (128, 256, 512, 512)
    encoder_layers: int = 2
    encoder_attends: bool = True
    decoder_widths: tuple[int, ...] = (128, 256, 512, 512)
    decoder_layers: int = 2
    decoder_attends: bool = True
    latent_channels: int = 4
    video: bool = False  # whether the decoder looks along the frames
    quantized: bool = True  # whether there are convolutions around the latents

    @property
    def downscale(self) -> int:
        """Pixels per latent cell, each way."""
        return int(2 ** (len(self.decoder_widths) - 1))


class ImageAutoencoder(nn.Module):
    """Pictures [B, 3, H, W] in -1..1 to latents [B, C, H/8, W/8] and back."""

    def __init__(self, shape: VaeShape) -> None:
        # diffusers takes seconds to import; a worker is ready before its first model
        from diffusers.models.autoencoders.vae import Decoder, Encoder

        super().__init__()
        self.shape = shape
        channels = shape.latent_channels
        self.encoder = Encoder(
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * len(shape.encoder_widths),
            block_out_channels=shape.encoder_widths,
            layers_per_block=shape.encoder_layers,
            norm_num_groups=1,
            mid_block_add_attention=shape.encoder_attends,
        )
        self.decoder = Decoder(
            in_channels=channels,
            up_block_types=("UpDecoderBlock2D",) * len(shape.decoder_widths),
            block_out_channels=shape.decoder_widths,
            layers_per_block=shape.decoder_layers,
            norm_num_groups=1,
            mid_block_add_attention=shape.decoder_attends,
        )
        self.quant_conv: nn.Module = nn.Conv2d(2 * channels, 2 * channels, 1) if shape.quantized else nn.Identity()
        self.post_quant_conv: nn.Module = nn.Conv2d(channels, channels, 1) if shape.quantized else nn.Identity()
        fit_groups(self)

    def encode(self, pixels: Tensor) -> Tensor:
        """The posterior's mean."""
        moments: Tensor = self.quant_conv(self.encoder(pixels))
        return moments.chunk(2, dim=1)[0]

    def decode(self, latent: Tensor) -> Tensor:
        """The picture of a latent."""
        picture: Tensor = self.decoder(self.post_quant_conv(latent))
        return picture


class PixelAutoencoder(nn.Module):
    """Pixels as latents: nothing is done to them."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = VaeShape(encoder_widths=(3,), decoder_widths=(3,), latent_channels=3)

    def encode(self, pixels: Tensor) -> Tensor:
        """The pixels [B, 3, H, W] in -1..1."""
        return pixels

    def decode(self, latent: Tensor) -> Tensor:
        """The pixels [B, 3, H, W] in -1..1."""
        return latent


def fit_groups(module: nn.Module) -> None:
    """Give every group norm gcd(32, channels) groups: 32 in full-size models, fewer in narrow ones.

    diffusers takes one number for a whole network, so networks are built with one group and fitted afterwards.
    """
    for part in module.modules():
        if isinstance(part, nn.GroupNorm):
            part.num_groups = math.gcd(32, part.num_channels)
