"""FreeU: stronger features and weaker coarse skips on the way up of a UNet (Si et al. 2023, arXiv:2309.11497)."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from executor.inference.hooks import Options, PurePatch

COARSE = 1  # how far from the constant a wave counts as coarse, in waves per picture


class FreeU(PurePatch):
    """Changes what output blocks of the two innermost widths are given."""

    def __init__(self, width: int, strengths: tuple[float, float], skips: tuple[float, float]) -> None:
        """`width` is that of the UNet's first feature maps; the innermost are four times as wide."""
        self.scales = {
            width * 4: (strengths[0], skips[0]),
            width * 2: (strengths[1], skips[1]),
        }

    @property
    def numbers(self) -> Hashable:
        """Strengths of features and skips by width."""
        return tuple(self.scales.items())

    def __call__(self, x: Tensor, skip: Tensor, options: Options) -> tuple[Tensor, Tensor]:
        """Features and skip connection [B, C, H, W] of an output block."""
        scales = self.scales.get(x.shape[1])
        if scales is None:
            return x, skip
        half = x.shape[1] // 2
        stronger = self.strengthened(x, scales[0])[:, :half]
        return torch.cat([stronger, x[:, half:]], dim=1), damped(skip, scales[1])

    def strengthened(self, x: Tensor, strength: float) -> Tensor:
        """Features at a strength."""
        return x * strength


class FreeUV2(FreeU):
    """FreeU whose strength is that of each cell's mean, between one and the given one."""

    def strengthened(self, x: Tensor, strength: float) -> Tensor:
        """Features at strengths that follow their means."""
        means = x.mean(dim=1, keepdim=True)
        low, high = means.amin(dim=(1, 2, 3), keepdim=True), means.amax(dim=(1, 2, 3), keepdim=True)
        spread = torch.where(high > low, high - low, 1.0)  # a level of one cell has none and stays as it is
        return x * ((strength - 1) * (means - low) / spread + 1)


def damped(skip: Tensor, scale: float, coarse: int = COARSE) -> Tensor:
    """[B, C, H, W] with its coarsest waves scaled, those of fewer than `coarse` waves per picture."""
    waves = torch.fft.fftshift(torch.fft.fftn(skip.float(), dim=(-2, -1)), dim=(-2, -1))
    rows, columns = waves.shape[-2] // 2, waves.shape[-1] // 2
    mask = torch.ones(waves.shape[-2:], device=skip.device)
    mask[rows - coarse : rows + coarse, columns - coarse : columns + coarse] = scale
    back = torch.fft.ifftn(torch.fft.ifftshift(waves * mask, dim=(-2, -1)), dim=(-2, -1))
    real: Tensor = back.real
    return real.to(skip.dtype)
