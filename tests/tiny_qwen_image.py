"""Networks of Qwen-Image of small sizes and random weights, by their names. No product code but the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from executor.inference.qwen_image import QwenImage, QwenImageShape

TINY_QWEN_IMAGE = QwenImageShape(width=64, heads=2, inner=256, blocks=3, context=32)
"""The smallest that has every kind of layer more than once."""
BARE, WRAPPED = "", "model.diffusion_model."


def random_qwen_image(shape: QwenImageShape = TINY_QWEN_IMAGE, seed: int = 0) -> QwenImage:
    """A network of a shape, every weight random."""
    generator = torch.Generator().manual_seed(seed)
    module = QwenImage(shape)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.7 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    return module.requires_grad_(False).eval()


def qwen_image_tensors(prefix: str = BARE, seed: int = 0, **changes: object) -> dict[str, Tensor]:
    """The tensors of a network that differs from the smallest as told."""
    module = random_qwen_image(replace(TINY_QWEN_IMAGE, **changes), seed)  # type: ignore[arg-type]
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def write_qwen_image(path: Path, dtype: torch.dtype = torch.float32, **changes: object) -> Path:
    """A file of such a network."""
    tensors = qwen_image_tensors(**changes)  # type: ignore[arg-type]
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, path)
    return path
