"""Video autoencoders of Wan of small sizes and random weights, by their original names."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from executor.inference.wan_vae import LayerShape, WanVae, WanVaeShape

TEMPORAL = (False, True, True, False)
"""Which of the encoder's levels make one frame of two."""


def half(widths: tuple[int, ...], blocks: int, temporal: tuple[bool, ...], *, halves: bool) -> tuple:
    """Levels of so many residual layers, each but the last with one that resizes; `halves`: its channels too."""
    found, into = [], widths[0]
    for number, out in enumerate(widths):
        layers = []
        for _ in range(blocks):
            layers.append(LayerShape(into=into, out=out))
            into = out
        if number < len(widths) - 1:
            after = out // 2 if halves else out
            layers.append(LayerShape(into=out, out=after, resizes=True, temporal=temporal[number]))
            into = after
        found.append(tuple(layers))
    return tuple(found)


def vae_shape(width: int = 8, channels: int = 16) -> WanVaeShape:
    """Of Wan 2.1's outline."""
    inwards = (width, 2 * width, 4 * width, 4 * width)
    return WanVaeShape(
        latent_channels=channels,
        encoder=half(inwards, 2, TEMPORAL, halves=False),
        decoder=half(inwards[::-1], 3, TEMPORAL[2::-1], halves=True),
    )


def grouped_shape(width: int = 8, channels: int = 48) -> WanVaeShape:
    """Of Wan 2.2's outline."""
    inwards = (width, 2 * width, 4 * width, 4 * width)
    return WanVaeShape(
        latent_channels=channels,
        encoder=half(inwards, 2, TEMPORAL, halves=False),
        decoder=half(inwards[::-1], 3, TEMPORAL[2::-1], halves=False),
        patch=2,
        grouped=True,
    )


def random_vae(shape: WanVaeShape | None = None, seed: int = 0) -> WanVae:
    """An autoencoder, every weight random, so that what comes out depends on what went in."""
    module, generator = WanVae(shape or vae_shape()), torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        if name.endswith("gamma"):
            nn.init.normal_(weight, mean=1.0, std=0.3, generator=generator)
        elif name.endswith("bias"):
            nn.init.normal_(weight, std=0.1, generator=generator)
        else:
            nn.init.normal_(weight, std=1.7 / weight[0].numel() ** 0.5, generator=generator)
    return module.requires_grad_(False).eval()


def vae_tensors(prefix: str = "", shape: WanVaeShape | None = None) -> dict[str, Tensor]:
    """The tensors of an autoencoder."""
    return {prefix + name: tensor for name, tensor in random_vae(shape).state_dict().items()}


def write_wan_vae(path: Path, shape: WanVaeShape | None = None, dtype: torch.dtype = torch.float32) -> Path:
    """A file of such an autoencoder."""
    save_file({name: tensor.to(dtype) for name, tensor in vae_tensors(shape=shape).items()}, path)
    return path
