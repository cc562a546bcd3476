"""Pictures, masks, latents and sound as nodes pass them on."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor

ImageInput = Tensor  # [B, H, W, C]
MaskInput = Tensor  # [B, H, W]


class AudioInput(TypedDict):
    """Sound: `waveform` [B, C, T] and its samples per second."""

    waveform: Tensor
    sample_rate: int


class LatentInput(TypedDict, total=False):
    """Latents: `samples` [B, C, H, W]; a mask, and a place in a batch, if they have one."""

    samples: Tensor
    noise_mask: Tensor
    batch_index: list[int]
