"""Small checkpoints of models that pictures lead, with random weights under their original names. No product code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.tiny_checkpoint import UNET, VAE, Shapes, TinySizes, linear, norm, random_tensors, unet_shapes, vae_shapes
from tests.tiny_families import tensors_of

VISION = "conditioner.embedders.0.open_clip.model."
EMBEDDING, VECTOR = 48, 3 * 256
SIZES = TinySizes(linear=True, context=EMBEDDING, vector=VECTOR, in_channels=8)


def along_frames(name: str, out: int, into: int) -> Shapes:
    """Weight and bias of a convolution over three frames."""
    return {f"{name}.weight": (out, into, 3, 1, 1), f"{name}.bias": (out,)}


def temporal_resnet(name: str, width: int, time: int | None) -> Shapes:
    """A residual block along the frames."""
    shapes = norm(f"{name}.in_layers.0", width) | along_frames(f"{name}.in_layers.2", width, width)
    shapes |= linear(f"{name}.emb_layers.1", width, time) if time else {}
    return shapes | norm(f"{name}.out_layers.0", width) | along_frames(f"{name}.out_layers.3", width, width)


def temporal_block(name: str, width: int, context: int) -> Shapes:
    """A transformer block along the frames."""
    shapes: Shapes = {}
    for each in ("norm_in", "norm1", "norm2", "norm3"):
        shapes |= norm(f"{name}.{each}", width)
    for each in ("ff_in", "ff"):
        shapes |= linear(f"{name}.{each}.net.0.proj", width * 8, width)
        shapes |= linear(f"{name}.{each}.net.2", width, width * 4)
    for attention, source in (("attn1", width), ("attn2", context)):
        shapes |= linear(f"{name}.{attention}.to_q", width, width, bias=False)
        shapes |= linear(f"{name}.{attention}.to_k", width, source, bias=False)
        shapes |= linear(f"{name}.{attention}.to_v", width, source, bias=False)
        shapes |= linear(f"{name}.{attention}.to_out.0", width, width)
    return shapes


def video_unet_shapes(sizes: TinySizes = SIZES) -> Shapes:
    """Every tensor of the UNet: that of pictures, and the temporal layers beside its layers."""
    shapes = unet_shapes(sizes)
    found = dict(shapes)
    time = sizes.widths[0] * 4
    for name, shape in shapes.items():
        layer, _, rest = name.rpartition(".out_layers.3.weight")
        if layer:
            found |= temporal_resnet(f"{layer}.time_stack", shape[0], time)
            found[f"{layer}.time_mixer.mix_factor"] = (1,)
        layer, _, rest = name.partition(".transformer_blocks.")
        if rest.endswith("norm1.weight"):
            found |= temporal_block(f"{layer}.time_stack.{rest.split('.')[0]}", shape[0], sizes.context)
            found |= linear(f"{layer}.time_pos_embed.0", 4 * shape[0], shape[0])
            found |= linear(f"{layer}.time_pos_embed.2", shape[0], 4 * shape[0])
            found[f"{layer}.time_mixer.mix_factor"] = (1,)
    return found


def video_vae_shapes(sizes: TinySizes = SIZES) -> Shapes:
    """Every tensor of the autoencoder, whose latents have no convolution around them."""
    shapes = {name: shape for name, shape in vae_shapes(sizes).items() if "quant_conv" not in name}
    found = dict(shapes) | along_frames("decoder.conv_out.time_mix_conv", 3, 3)
    for name, shape in shapes.items():
        layer, _, _ = name.rpartition(".conv2.weight")
        if layer.startswith("decoder."):
            found |= temporal_resnet(f"{layer}.time_stack", shape[0], None) | {f"{layer}.mix_factor": (1,)}
    return found


def open_vision_shapes(
    width: int = 64, out: int = EMBEDDING, layers: int = 2, patch: int = 14, side: int = 2
) -> Shapes:
    """Every tensor of an OpenCLIP picture tower for pictures of `side` patches each way."""
    shapes: Shapes = {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (side * side + 1, width),
        "visual.proj": (width, out),
        "visual.conv1.weight": (width, 3, patch, patch),
        **norm("visual.ln_pre", width),
        **norm("visual.ln_post", width),
    }
    for number in range(layers):
        block = f"visual.transformer.resblocks.{number}"
        shapes |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        shapes |= linear(f"{block}.attn.out_proj", width, width)
        shapes |= linear(f"{block}.mlp.c_fc", 4 * width, width) | linear(f"{block}.mlp.c_proj", width, 4 * width)
        shapes |= norm(f"{block}.ln_1", width) | norm(f"{block}.ln_2", width)
    return shapes


def video_tensors(sizes: TinySizes = SIZES, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Random weights of a small SVD checkpoint."""
    parts = {
        UNET: video_unet_shapes(sizes),
        VISION: open_vision_shapes(out=sizes.context),
        VAE: video_vae_shapes(sizes),
    }
    return random_tensors(parts, dtype)


def unclip_tensors(dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Random weights of a small unCLIP checkpoint of SD2.x, with a scale for pictures' vectors."""
    tensors = tensors_of("sd2", dtype=dtype, vector=2 * EMBEDDING, vocabulary=49408)
    tensors |= random_tensors({"embedder.model.": open_vision_shapes()}, dtype)
    mean, deviation = torch.linspace(-1, 1, EMBEDDING)[None], torch.linspace(0.5, 2, EMBEDDING)[None]
    return tensors | {"noise_augmentor.data_mean": mean, "noise_augmentor.data_std": deviation}


def zero123_tensors(dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Random weights of a small Zero123 checkpoint."""
    sizes = TinySizes(in_channels=8, context=EMBEDDING)
    parts = {
        UNET: unet_shapes(sizes),
        VAE: vae_shapes(sizes),
        "cond_stage_model.model.": open_vision_shapes(),
        "cc_projection.": {"weight": (EMBEDDING, EMBEDDING + 4), "bias": (EMBEDDING,)},
    }
    return random_tensors(parts, dtype)


def write_tiny_video(path: Path, sizes: TinySizes = SIZES) -> Path:
    """A small SVD checkpoint file."""
    save_file(video_tensors(sizes), path)
    return path
