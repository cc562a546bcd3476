"""Networks of Flux.1 of small sizes and random weights, by their original names. No product code but the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from executor.inference.flux import Flux, FluxShape

TINY_FLUX = FluxShape(
    in_features=64,
    out_features=64,
    width=64,
    heads=2,
    inner=256,
    double_blocks=2,
    single_blocks=3,
    context=24,
    vector=12,
)
"""The smallest that has every kind of layer more than once."""
BARE, WRAPPED = "", "model.diffusion_model."


def random_flux(shape: FluxShape = TINY_FLUX, seed: int = 0) -> Flux:
    """A network of a shape, every weight random."""
    generator = torch.Generator().manual_seed(seed)
    module = Flux(shape)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.7 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    return module.requires_grad_(False).eval()


def flux_tensors(prefix: str = BARE, seed: int = 0, **changes: object) -> dict[str, Tensor]:
    """The tensors of a network that differs from the smallest as told."""
    module = random_flux(replace(TINY_FLUX, **changes), seed)  # type: ignore[arg-type]
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def write_flux(path: Path, dtype: torch.dtype = torch.float32, **changes: object) -> Path:
    """A file of such a network."""
    save_file({name: tensor.to(dtype) for name, tensor in flux_tensors(**changes).items()}, path)  # type: ignore[arg-type]
    return path
