"""Small files of Stable Diffusion 3 with random weights under their original names. No product code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tests.tiny_checkpoint import UNET, VAE, Shapes, TinySizes, conv, linear, random_tensors, vae_shapes
from tests.tiny_texts import G_WIDTH, L_WIDTH, T5_WIDTH, whole_texts


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyMMDiT:
    """Sizes; the defaults are those of a small Stable Diffusion 3 medium."""

    width: int = 128
    depth: int = 2
    context: int = T5_WIDTH
    vector: int = L_WIDTH + G_WIDTH
    places: int = 12
    inner: int = 192
    channels: int = 16
    head_width: int = 64
    normed: bool = False
    dual: tuple[int, ...] = ()


def half_block_shapes(name: str, sizes: TinyMMDiT, *, leads_back: bool = True, dual: bool = False) -> Shapes:
    """One side of a joint block."""
    width = sizes.width
    parts = (9 if dual else 6) if leads_back else 2
    shapes = linear(f"{name}.adaLN_modulation.1", parts * width, width)
    for attention in ("attn", "attn2") if dual else ("attn",):
        shapes |= linear(f"{name}.{attention}.qkv", 3 * width, width)
        if leads_back:
            shapes |= linear(f"{name}.{attention}.proj", width, width)
        if sizes.normed:
            norms = {f"{name}.{attention}.ln_{side}.weight": (sizes.head_width,) for side in "qk"}
            shapes |= norms
    if leads_back:
        shapes |= linear(f"{name}.mlp.fc1", sizes.inner, width) | linear(f"{name}.mlp.fc2", width, sizes.inner)
    return shapes


def mmdit_shapes(sizes: TinyMMDiT) -> Shapes:
    """Every tensor of the transformer."""
    width = sizes.width
    shapes = conv("x_embedder.proj", width, sizes.channels, 2)
    shapes |= {"pos_embed": (1, sizes.places**2, width)}
    shapes |= linear("t_embedder.mlp.0", width, 256) | linear("t_embedder.mlp.2", width, width)
    shapes |= linear("y_embedder.mlp.0", width, sizes.vector) | linear("y_embedder.mlp.2", width, width)
    shapes |= linear("context_embedder", width, sizes.context)
    for number in range(sizes.depth):
        block = f"joint_blocks.{number}"
        shapes |= half_block_shapes(f"{block}.x_block", sizes, dual=number in sizes.dual)
        shapes |= half_block_shapes(f"{block}.context_block", sizes, leads_back=number < sizes.depth - 1)
    shapes |= linear("final_layer.adaLN_modulation.1", 2 * width, width)
    return shapes | linear("final_layer.linear", 4 * sizes.channels, width)


def vae_of_sixteen_channels(widths: tuple[int, ...] = (8, 8, 12, 16)) -> Shapes:
    """Every tensor of the autoencoder, which has no convolutions around its latents."""
    shapes = {name: shape for name, shape in vae_shapes(TinySizes(vae_widths=widths)).items() if "quant" not in name}
    return shapes | conv("encoder.conv_out", 32, widths[-1]) | conv("decoder.conv_in", widths[-1], 16)


def network_tensors(sizes: TinyMMDiT | None = None, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights of a transformer by its bare names."""
    return random_tensors({"": mmdit_shapes(sizes or TinyMMDiT())}, dtype)


def checkpoint_tensors(
    sizes: TinyMMDiT | None = None,
    dtype: torch.dtype = torch.float16,
    texts: tuple[str, ...] = ("clip_l", "clip_g", "t5xxl"),
) -> dict[str, Tensor]:
    """Random weights of a checkpoint with these text encoders."""
    tensors = random_tensors({UNET: mmdit_shapes(sizes or TinyMMDiT()), VAE: vae_of_sixteen_channels()}, dtype)
    return tensors | whole_texts(*texts)
