"""Small functions that packs use in nodes: values in conditioning, pictures that fail to load, hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

from PIL import ImageFile, UnidentifiedImageError

from nodes import bridge
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)

Result = TypeVar("Result")


def conditioning_set_values(
    conditioning: list[list[object]], values: dict[str, object] | None = None, append: bool = False
) -> list[list[object]]:
    """A CONDITIONING with values put into every entry; `append` adds lists to lists that are there."""
    changed = []
    for embedding, options, *rest in conditioning:
        filled = dict(options)
        for key, value in (values or {}).items():
            filled[key] = filled[key] + value if append and filled.get(key) is not None else value
        changed.append([embedding, filled, *rest])
    return changed


def pillow(fn: Callable[[object], Result], arg: object) -> Result:
    """Call a function that reads a picture; a truncated or odd file is tried once more with patience."""
    try:
        return fn(arg)
    except (OSError, UnidentifiedImageError, ValueError):
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            return fn(arg)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def hasher() -> Callable[..., object]:
    """The constructor of the hash that files are compared by."""
    return getattr(hashlib, getattr(bridge.services().settings, "hash_function", "sha256"))


def string_to_torch_dtype(string: str) -> object:
    """The torch type that a short name stands for; None for an unknown one."""
    import torch

    return {
        "fp32": torch.float32,
        "fp16": torch.float16,
        "bf16": torch.bfloat16,
        "fp8_e4m3fn": torch.float8_e4m3fn,
        "fp8_e5m2": torch.float8_e5m2,
    }.get(string)


def image_alpha_fix(destination: object, source: object) -> tuple[object, object]:
    """Two pictures [B, H, W, C] with the same number of channels: a missing alpha is added as ones."""
    from torch.nn import functional

    if destination.shape[-1] < source.shape[-1]:
        source = source[..., : destination.shape[-1]]
    elif destination.shape[-1] > source.shape[-1]:
        source = functional.pad(source, (0, destination.shape[-1] - source.shape[-1]), value=1.0)
    return destination, source
