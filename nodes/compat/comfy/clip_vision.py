"""Vision models under the names that packs use. The model itself is Weft's own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from comfy.handles import Alias
from executor.inference import vision
from executor.inference.vision import ClipVision
from nodes import bridge
from nodes.placeholders import fallback, missing

__getattr__ = fallback(__name__)


class Output:
    """What a vision model tells: attributes, or items of the same names."""

    def __init__(self, **told: object) -> None:
        vars(self).update(told)

    def __getitem__(self, key: str) -> object:
        return getattr(self, key)

    def __setitem__(self, key: str, item: object) -> None:
        setattr(self, key, item)


class ClipVisionModel(metaclass=Alias):
    """A vision model; Weft's own count as instances."""

    core = ClipVision

    def __init__(self, *given: object, **options: object) -> None:
        raise missing("comfy.clip_vision.ClipVisionModel")


def clip_preprocess(
    image: Tensor, size: int = 224, mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073),
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711), crop: bool = True,
) -> Tensor:  # fmt: skip
    """Pictures [B, H, W, C] as [B, 3, size, size], normalised: the short side fits, or squeezed."""
    pixels = image[..., :3].movedim(-1, 1)
    if pixels.shape[-2:] != (size, size):
        height, width = pixels.shape[-2:]
        scale = size / min(height, width)
        fitted = (round(scale * height), round(scale * width)) if crop else (size, size)
        pixels = functional.interpolate(pixels, size=fitted, mode="bicubic", antialias=True)
        top, left = (pixels.shape[-2] - size) // 2, (pixels.shape[-1] - size) // 2
        pixels = pixels[..., top : top + size, left : left + size]
    pixels = torch.clip(255.0 * pixels, 0, 255).round() / 255.0
    shape = (3, 1, 1)
    return (pixels - torch.tensor(mean).to(pixels).view(shape)) / torch.tensor(std).to(pixels).view(shape)


def load(ckpt_path: str) -> ClipVision:
    """The vision model of a file; ModelFileError when it is none."""
    return vision.load_clip_vision(Path(ckpt_path), bridge.services().memory)
