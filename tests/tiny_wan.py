"""Networks of Wan of small sizes and random weights, by their original names. No product code but the network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from executor.inference.wan import Wan, WanShape

TINY_WAN = WanShape(width=48, heads=2, inner=80, blocks=3, context=24, waves=32)
"""The smallest that has every kind of layer more than once, and heads whose axes differ."""
LED = {"in_channels": 36, "picture": 20}
"""What networks have that a picture leads."""
VACE = {"blocks": 4, "vace_blocks": 2, "vace_channels": 96}
CONFIG = {"weft.config": json.dumps({"unet": {"heads": 2}})}
"""What a file says of its heads, which shapes do not tell."""


def random_wan(shape: WanShape = TINY_WAN, seed: int = 0) -> Wan:
    """A network of a shape, every weight random."""
    return randomized(Wan(shape), seed)


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """A module, every weight random."""
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.7 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    return module.requires_grad_(False).eval()


def wan_tensors(prefix: str = "", seed: int = 0, **changes: object) -> dict[str, Tensor]:
    """The tensors of a network that differs from the smallest as told."""
    module = random_wan(replace(TINY_WAN, **changes), seed)  # type: ignore[arg-type]
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def write_wan(path: Path, dtype: torch.dtype = torch.float32, **changes: object) -> Path:
    """A file of such a network."""
    tensors = {name: tensor.to(dtype) for name, tensor in wan_tensors(**changes).items()}  # type: ignore[arg-type]
    save_file(tensors, path, metadata=CONFIG)
    return path
