"""The VAE that nodes hand around: pictures to latents and back, in batches that fit. Knows no diffusion model."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.memory import Memory, Part
from executor.inference.vae_model import ImageAutoencoder
from executor.inference.values import Image

# feature maps of the widest full-size layer that are alive at once: input, output, and the convolution's workspace
LIVE_MAPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Vae:
    """One autoencoder."""

    part: Part[ImageAutoencoder]
    memory: Memory

    @property
    def downscale(self) -> int:
        """Pixels per latent cell, each way."""
        return self.part.module.shape.downscale

    @property
    def latent_channels(self) -> int:
        """Channels of its latents."""
        return self.part.module.shape.latent_channels

    def encode(self, pixels: Image) -> Tensor:
        """Latents [B, 4, H/8, W/8] of pictures [B, H, W, C], C >= 3, in 0..1: the posterior's mean, on the CPU.

        Pictures are cut to multiples of 8 around their middle. Raises NodeInputError for pictures without a whole cell.
        """
        pixels = crop_to_cells(pixels[..., :3], self.downscale)
        height, width = pixels.shape[1:3]
        widest = self.part.module.shape.encoder_widths[0]
        return self._in_batches(pixels, self._working_bytes(widest, height, width), self._encode_batch)

    def decode(self, samples: Tensor) -> Image:
        """Pictures [B, H, W, 3] in 0..1, float32, of latents [B, 4, H/8, W/8], on the CPU.

        Raises NodeInputError for latents of other channels.
        """
        if samples.ndim != 4 or samples.shape[1] != self.latent_channels:
            wanted = f"[batch, {self.latent_channels}, height, width]"
            raise NodeInputError(f"this VAE decodes latents of shape {wanted}, not {list(samples.shape)}")
        height, width = (side * self.downscale for side in samples.shape[2:])
        widths = self.part.module.shape.decoder_widths
        return self._in_batches(samples, self._working_bytes(max(widths[:2]), height, width), self._decode_batch)

    def _encode_batch(self, pixels: Tensor) -> Tensor:
        picture = pixels.movedim(-1, 1).to(self.part.device, self.part.dtype) * 2 - 1
        return self.part.module.encode(picture).float().cpu()

    def _decode_batch(self, samples: Tensor) -> Tensor:
        picture = self.part.module.decode(samples.to(self.part.device, self.part.dtype))
        return (picture.float() * 0.5 + 0.5).clamp_(0, 1).cpu().movedim(1, -1)

    def _working_bytes(self, channels: int, height: int, width: int) -> int:
        """Bytes that one picture needs beside the weights, from the widest feature maps of full size."""
        return LIVE_MAPS * channels * height * width * torch.float32.itemsize

    def _in_batches(self, batch: Tensor, each_bytes: int, run: Callable[[Tensor], Tensor]) -> Tensor:
        """Run a batch in as few pieces as fit into memory."""
        self.memory.load(self.part, each_bytes)
        size = max(1, self.memory.free() // each_bytes)
        with torch.no_grad():
            return torch.cat([run(piece) for piece in torch.split(batch, size)])


def crop_to_cells(pixels: Image, cell: int) -> Image:
    """Pictures cut around their middle so that both sides are multiples of a cell.

    Raises NodeInputError when nothing would be left.
    """
    height, width = pixels.shape[1:3]
    if height < cell or width < cell:
        raise NodeInputError(
            f"a picture of {width}x{height} pixels is too small for this VAE; {cell}x{cell} is the least"
        )
    top, left = height % cell // 2, width % cell // 2
    return pixels[:, top : top + height // cell * cell, left : left + width // cell * cell]
