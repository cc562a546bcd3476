"""The demo model's latent, defined analytically: four fixed linear statistics of every 8 x 8 cell."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

SCALE = 0.18215
CELL = 8
# mean of red, green, blue over drawn pictures, and the matrix that makes them uncorrelated with unit variance
RGB_MEAN = (0.1338, -0.0358, -0.0436)
RGB_WHITENING = ((1.3338, -0.3022, 0.1314), (-0.3022, 1.7467, -0.3234), (0.1314, -0.3234, 1.4487))
# the fourth channel: a slanted moment of one mix of colours, scaled to about 0.6 of unit deviation
MOMENT_COLOUR = (0.5, 0.7, -0.4)
MOMENT_SLANT = (1.0, 0.6)
MOMENT_SCALE = 10.0


def latent_kernel() -> tuple[Tensor, Tensor]:
    """Kernel (4, 3, 8, 8) and bias (4,) that take a picture (-1..1) to its latent by a strided convolution."""
    whitening = torch.tensor(RGB_WHITENING)
    axis = (torch.arange(CELL) - 3.5) / 3.5
    slant = (MOMENT_SLANT[0] * axis[None, :] + MOMENT_SLANT[1] * axis[:, None]) * MOMENT_SCALE / CELL**2
    kernel = torch.zeros(4, 3, CELL, CELL)
    kernel[:3] = whitening[:, :, None, None] / CELL**2
    kernel[3] = torch.tensor(MOMENT_COLOUR)[:, None, None] * slant
    bias = torch.cat([-whitening @ torch.tensor(RGB_MEAN), torch.zeros(1)])
    return kernel, bias


def to_latent(pictures: Tensor) -> Tensor:
    """Unit-variance latents (B, 4, H / 8, W / 8) of pictures (B, 3, H, W)."""
    kernel, bias = latent_kernel()
    return conv2d(pictures, kernel, bias, stride=CELL)
