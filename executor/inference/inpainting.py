"""Masked pictures made ready for a VAE: same size, cut to whole latent cells, the masked part greyed out."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from executor.inference.crossing import sent_like
from executor.inference.values import Image, Mask

CELL = 8  # pixels per latent cell
TINY = 1e-10


def fitted_mask(mask: Mask, pixels: Image) -> Tensor:
    """The mask as [B, 1, H, W], scaled to the size of the pictures."""
    planes = mask.reshape(-1, 1, mask.shape[-2], mask.shape[-1])
    return functional.interpolate(planes, size=pixels.shape[1:3], mode="bilinear")


def whole_cells(pixels: Image, mask: Tensor) -> tuple[Image, Tensor]:
    """Pictures [B, H, W, C] and mask [B, 1, H, W] without the odd pixels around a whole number of latent cells."""
    height, width = (size // CELL * CELL for size in pixels.shape[1:3])
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    rows, columns = slice(top, top + height), slice(left, left + width)
    return pixels[:, rows, columns], mask[..., rows, columns]


def greyed(pixels: Image, mask: Tensor) -> Image:
    """The pictures with medium grey where the mask [B, 1, H, W] rounds to 1; alpha is left out."""
    keep = (1.0 - mask.round()).movedim(1, -1)
    return (pixels[..., :3] - 0.5) * keep + 0.5


def grown(mask: Tensor, by: int) -> Tensor:
    """The mask [B, 1, H, W] rounded to 0 and 1 and widened by a square of `by` pixels (0 leaves it)."""
    if by == 0:
        return mask.round()
    kernel = torch.ones((1, 1, by, by), dtype=mask.dtype, device=mask.device)
    wide = functional.conv2d(mask.round(), kernel, padding=math.ceil((by - 1) / 2)).clamp(0, 1)
    return wide[..., : mask.shape[-2], : mask.shape[-1]].round()


def inpaint_pixels(pixels: Image, mask: Mask, grow_by: int) -> tuple[Image, Tensor]:
    """Greyed pictures, and the noise mask [B, 1, H, W] grown by some pixels so that seams are painted too."""
    cut, cut_mask = whole_cells(pixels, fitted_mask(mask, pixels))
    return greyed(cut, cut_mask), grown(cut_mask, grow_by)


def mask_of_level(strength: float, sigma: Tensor, mask: Tensor, given: Mapping[str, Any]) -> Tensor:
    """What a mask of shades redraws at noise level `sigma` [B]: all that is as bright as the share of time left.

    Source: Differential Diffusion (Levin & Fried 2023, arXiv:2306.00950, alg. 1); the share is the timestep's of the
    first level's, recorded: numeric/guiders, case differential_diffusion. `strength` 0 leaves the mask as it is.
    """
    sampling = given["model"].sampling
    first, now = (sampling.timestep(level).float() for level in (sent_like(given["sigmas"][:1], sigma), sigma[:1]))
    redrawn: Tensor = (mask >= now / first.clamp(min=TINY)).to(mask)
    return redrawn if strength >= 1 else redrawn * strength + mask * (1.0 - strength)
