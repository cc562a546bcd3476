"""Writes single files of small sizes and random weights, by the layouts' original names. No product code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.text_model.", "first_stage_model."


@dataclass(frozen=True, slots=True, kw_only=True)
class TinySizes:
    """Sizes of a small checkpoint; the defaults are the smallest that have every kind of block."""

    widths: tuple[int, ...] = (16, 24)
    layers: int = 1
    attends: tuple[bool, ...] = (True, False)
    depth: int = 1
    context: int = 32
    in_channels: int = 4
    text_layers: int = 2
    vocabulary: int = 49408
    vae_widths: tuple[int, ...] = (8, 8, 12, 16)
    vae_layers: int = 1
    linear: bool = False  # whether attentions project by linear layers (SD2.x, SDXL)
    vector: int | None = None  # width of the vector beside the time (SDXL)


def linear(name: str, out: int, into: int, *, bias: bool = True) -> Shapes:
    """Weight and bias of a linear layer."""
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def conv(name: str, out: int, into: int, side: int = 3) -> Shapes:
    """Weight and bias of a convolution."""
    return {f"{name}.weight": (out, into, side, side), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    """Weight and bias of a norm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def unet_resnet(name: str, into: int, out: int, time: int) -> Shapes:
    """A residual block of the UNet."""
    shapes = norm(f"{name}.in_layers.0", into) | conv(f"{name}.in_layers.2", out, into)
    shapes |= linear(f"{name}.emb_layers.1", out, time)
    shapes |= norm(f"{name}.out_layers.0", out) | conv(f"{name}.out_layers.3", out, out)
    return shapes | (conv(f"{name}.skip_connection", out, into, 1) if into != out else {})


def transformer(name: str, width: int, sizes: TinySizes) -> Shapes:
    """An attention block of the UNet."""
    context, depth = sizes.context, sizes.depth
    shapes = norm(f"{name}.norm", width)
    for end in ("proj_in", "proj_out"):
        place = f"{name}.{end}"
        shapes |= linear(place, width, width) if sizes.linear else conv(place, width, width, 1)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for attention, source in (("attn1", width), ("attn2", context)):
            shapes |= linear(f"{block}.{attention}.to_q", width, width, bias=False)
            shapes |= linear(f"{block}.{attention}.to_k", width, source, bias=False)
            shapes |= linear(f"{block}.{attention}.to_v", width, source, bias=False)
            shapes |= linear(f"{block}.{attention}.to_out.0", width, width)
        shapes |= linear(f"{block}.ff.net.0.proj", width * 8, width) | linear(f"{block}.ff.net.2", width, width * 4)
        for place in (1, 2, 3):
            shapes |= norm(f"{block}.norm{place}", width)
    return shapes


def unet_shapes(sizes: TinySizes) -> Shapes:
    """Every tensor of the UNet."""
    first, last = sizes.widths[0], len(sizes.widths) - 1
    time = first * 4
    shapes = linear("time_embed.0", time, first) | linear("time_embed.2", time, time)
    shapes |= conv("input_blocks.0.0", first, sizes.in_channels)
    if sizes.vector is not None:
        shapes |= linear("label_emb.0.0", time, sizes.vector) | linear("label_emb.0.2", time, time)
    skips, width, block = [first], first, 1
    for level, out in enumerate(sizes.widths):
        for _ in range(sizes.layers):
            shapes |= unet_resnet(f"input_blocks.{block}.0", width, out, time)
            if sizes.attends[level]:
                shapes |= transformer(f"input_blocks.{block}.1", out, sizes)
            width, block = out, block + 1
            skips.append(width)
        if level < last:
            shapes |= conv(f"input_blocks.{block}.0.op", width, width)
            skips.append(width)
            block += 1
    shapes |= unet_resnet("middle_block.0", width, width, time) | unet_resnet("middle_block.2", width, width, time)
    shapes |= transformer("middle_block.1", width, sizes)
    block = 0
    for level in reversed(range(len(sizes.widths))):
        out = sizes.widths[level]
        for turn in range(sizes.layers + 1):
            shapes |= unet_resnet(f"output_blocks.{block}.0", width + skips.pop(), out, time)
            if sizes.attends[level]:
                shapes |= transformer(f"output_blocks.{block}.1", out, sizes)
            if level and turn == sizes.layers:
                shapes |= conv(f"output_blocks.{block}.{1 + sizes.attends[level]}.conv", out, out)
            width, block = out, block + 1
    return shapes | norm("out.0", first) | conv("out.2", 4, first)


def text_shapes(sizes: TinySizes) -> Shapes:
    """Every tensor of the text model."""
    width = sizes.context
    shapes: Shapes = {"embeddings.token_embedding.weight": (sizes.vocabulary, width)}
    shapes["embeddings.position_embedding.weight"] = (77, width)
    for number in range(sizes.text_layers):
        layer = f"encoder.layers.{number}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{name}", width, width)
        shapes |= linear(f"{layer}.mlp.fc1", width * 4, width) | linear(f"{layer}.mlp.fc2", width, width * 4)
        shapes |= norm(f"{layer}.layer_norm1", width) | norm(f"{layer}.layer_norm2", width)
    return shapes | norm("final_layer_norm", width)


def vae_resnet(name: str, into: int, out: int) -> Shapes:
    """A residual block of the autoencoder."""
    shapes = norm(f"{name}.norm1", into) | conv(f"{name}.conv1", out, into)
    shapes |= norm(f"{name}.norm2", out) | conv(f"{name}.conv2", out, out)
    return shapes | (conv(f"{name}.nin_shortcut", out, into, 1) if into != out else {})


def vae_middle(name: str, width: int) -> Shapes:
    """Residual block, attention, residual block."""
    shapes = vae_resnet(f"{name}.block_1", width, width) | vae_resnet(f"{name}.block_2", width, width)
    shapes |= norm(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        shapes |= conv(f"{name}.attn_1.{part}", width, width, 1)
    return shapes


def vae_shapes(sizes: TinySizes) -> Shapes:
    """Every tensor of the autoencoder."""
    widths, last = sizes.vae_widths, len(sizes.vae_widths) - 1
    shapes = conv("encoder.conv_in", widths[0], 3) | conv("encoder.conv_out", 8, widths[-1])
    shapes |= conv("decoder.conv_in", widths[-1], 4) | conv("decoder.conv_out", 3, widths[0])
    shapes |= norm("encoder.norm_out", widths[-1]) | norm("decoder.norm_out", widths[0])
    shapes |= vae_middle("encoder.mid", widths[-1]) | vae_middle("decoder.mid", widths[-1])
    shapes |= conv("quant_conv", 8, 8, 1) | conv("post_quant_conv", 4, 4, 1)
    for level, width in enumerate(widths):
        for turn in range(sizes.vae_layers):
            into = width if turn or not level else widths[level - 1]
            shapes |= vae_resnet(f"encoder.down.{level}.block.{turn}", into, width)
        for turn in range(sizes.vae_layers + 1):
            into = width if turn or level == last else widths[level + 1]
            shapes |= vae_resnet(f"decoder.up.{level}.block.{turn}", into, width)
        if level < last:
            shapes |= conv(f"encoder.down.{level}.downsample.conv", width, width)
        if level:
            shapes |= conv(f"decoder.up.{level}.upsample.conv", width, width)
    return shapes


def tiny_tensors(sizes: TinySizes | None = None, *, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Random weights of a small SD1.x checkpoint, scaled so that activations stay of size one."""
    sizes = sizes or TinySizes()
    tensors = random_tensors({UNET: unet_shapes(sizes), TEXT: text_shapes(sizes), VAE: vae_shapes(sizes)}, dtype)
    tensors[f"{TEXT}embeddings.position_ids"] = torch.arange(77)[None]
    return tensors


def random_tensors(parts: Mapping[str, Shapes], dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Random weights of parts (prefix → shapes), scaled so that activations stay of size one."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for prefix, shapes in parts.items():
        for name, shape in shapes.items():
            fan_in = max(1, torch.Size(shape[1:]).numel())
            noise = torch.randn(shape, generator=generator)
            is_norm = len(shape) == 1 and name.endswith("weight")
            tensors[prefix + name] = (1 + 0.1 * noise if is_norm else noise * 0.8 / fan_in**0.5).to(dtype)
    return tensors


def write_tiny_checkpoint(
    path: Path, sizes: TinySizes | None = None, config: Mapping[str, object] | None = None
) -> Path:
    """A small checkpoint file; `config` goes under `weft.config` into its header."""
    metadata = {"weft.config": json.dumps(config)} if config is not None else None
    save_file(tiny_tensors(sizes), path, metadata)
    return path
