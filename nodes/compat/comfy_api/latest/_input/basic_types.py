"""Pictures, masks, latents and sound as nodes pass them on."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor

from executor.inference.values import Audio

ImageInput = Tensor  # [B, H, W, C]
MaskInput = Tensor  # [B, H, W]
AudioInput = Audio


class LatentInput(TypedDict, total=False):
    """Latents: `samples` [B, C, H, W]; a mask, and a place in a batch, if they have one."""

    samples: Tensor
    noise_mask: Tensor
    batch_index: list[int]
