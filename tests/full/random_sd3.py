"""A random checkpoint of Stable Diffusion 3 medium at full size, with both CLIPs and without T5. No product code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.tiny_checkpoint import UNET, VAE, Shapes, TinySizes, text_shapes
from tests.tiny_sd3 import TinyMMDiT, mmdit_shapes, vae_of_sixteen_channels

MEDIUM = TinyMMDiT(width=1536, depth=24, context=4096, vector=2048, places=192, inner=6144)
DRAWN = 1 << 20  # numbers, of which all weights are made: none of the layers has as many rows of them
STEP = 7919  # between where two tensors begin


def clip_shapes(width: int, layers: int) -> Shapes:
    """Every tensor of a CLIP text model with a projection, in transformers' names."""
    inside = text_shapes(TinySizes(context=width, text_layers=layers))
    return {f"text_model.{name}": shape for name, shape in inside.items()} | {"text_projection.weight": (width, width)}


def checkpoint_shapes() -> dict[str, Shapes]:
    """The parts of the file: prefix → tensors."""
    return {
        UNET: mmdit_shapes(MEDIUM),
        VAE: vae_of_sixteen_channels((128, 256, 512, 512)),
        "text_encoders.clip_l.transformer.": clip_shapes(768, 12),
        "text_encoders.clip_g.transformer.": clip_shapes(1280, 32),
    }


def weight(drawn: Tensor, place: int, name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor in half precision, scaled so that activations stay of size one."""
    count = torch.Size(shape).numel()
    numbers = drawn.roll(place * STEP).repeat(-(-count // DRAWN))[:count].reshape(shape)
    if len(shape) == 1 and name.endswith("weight"):
        return (1 + 0.1 * numbers).half()
    return (numbers * (0.5 / max(1, torch.Size(shape[1:]).numel()) ** 0.5)).half()


def write_random_sd3(path: Path) -> None:
    """Write the file: 5.6 GiB."""
    drawn = torch.randn(DRAWN, generator=torch.Generator().manual_seed(0))
    named = [(prefix + name, shape) for prefix, shapes in checkpoint_shapes().items() for name, shape in shapes.items()]
    save_file({name: weight(drawn, place, name, shape) for place, (name, shape) in enumerate(named)}, path)
