"""Masks in the cells of latents, of pictures and of videos. Knows no conditioning and no sampling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from executor.inference.pixels import repeat_to

PICTURES = 4  # dimensions of latents of pictures


def fitted_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask [H, W] or [B, H, W] or [B, 1, H, W] as [B, h, w], scaled to the latent's size."""
    planes = mask.reshape(-1, 1, mask.shape[-2], mask.shape[-1]).float()
    if planes.shape[-2:] != size:
        planes = functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)
    return planes[:, 0]


def noise_mask_like(mask: Tensor, shape: torch.Size) -> Tensor:
    """A noise mask for latents of a shape, [B, 1, h, w] or, for videos, [B, 1, F, h, w].

    For videos [B, 1, f, H, W] has frames of its own, and so has [f, H, W] or [f, 1, H, W]: these are stretched over the
    video's, and those of one stand for each.
    """
    if len(shape) == PICTURES:
        return repeat_to(fitted_mask(mask, (shape[-2], shape[-1]))[:, None], shape[0])
    planes = mask if mask.ndim == len(shape) else mask.reshape(1, 1, -1, *mask.shape[-2:])
    if planes.shape[2:] != shape[2:]:
        planes = functional.interpolate(planes.float(), size=shape[2:], mode="trilinear", align_corners=False)
    return repeat_to(planes.float()[:, :1], shape[0])
