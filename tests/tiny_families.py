"""Small checkpoints of the families beyond SD1.x, with random weights under their original names. No product code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.tiny_checkpoint import (
    UNET,
    VAE,
    Shapes,
    TinySizes,
    linear,
    norm,
    random_tensors,
    text_shapes,
    unet_shapes,
    vae_shapes,
)

CLIP_L, CLIP_G = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
REFINER_G, CLIP_H = "conditioner.embedders.0.model.", "cond_stage_model.model."
L_WIDTH, G_WIDTH = 32, 48
SIZE_NUMBERS, SCORE_NUMBERS = 6 * 256, 5 * 256


def open_clip_shapes(width: int, layers: int = 3, vocabulary: int = 49408) -> Shapes:
    """Every tensor of an OpenCLIP text model."""
    shapes: Shapes = {
        "token_embedding.weight": (vocabulary, width),
        "positional_embedding": (77, width),
        "text_projection": (width, width),
        "logit_scale": (),
    }
    for number in range(layers):
        block = f"transformer.resblocks.{number}"
        shapes |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,)}
        shapes |= linear(f"{block}.attn.out_proj", width, width)
        shapes |= linear(f"{block}.mlp.c_fc", 4 * width, width) | linear(f"{block}.mlp.c_proj", width, 4 * width)
        shapes |= norm(f"{block}.ln_1", width) | norm(f"{block}.ln_2", width)
    return shapes | norm("ln_final", width)


def sizes_of(family: str, **changes: object) -> TinySizes:
    """Sizes of a small checkpoint of a family."""
    given = {
        "sd2": TinySizes(linear=True, context=G_WIDTH),
        "sdxl": TinySizes(linear=True, context=L_WIDTH + G_WIDTH, vector=G_WIDTH + SIZE_NUMBERS),
        "sdxl_refiner": TinySizes(linear=True, context=G_WIDTH, vector=G_WIDTH + SCORE_NUMBERS),
    }[family]
    return replace(given, **changes)


def tensors_of(family: str, *, dtype: torch.dtype = torch.float16, **changes: object) -> dict[str, Tensor]:
    """Random weights of a small checkpoint of a family: "sd2", "sdxl" or "sdxl_refiner"."""
    sizes = sizes_of(family, **changes)
    parts = {UNET: unet_shapes(sizes), VAE: vae_shapes(sizes)}
    wide = open_clip_shapes(G_WIDTH, vocabulary=sizes.vocabulary)
    if family == "sdxl":
        parts |= {CLIP_L: text_shapes(replace(sizes, context=L_WIDTH, text_layers=3)), CLIP_G: wide}
    else:
        parts |= {CLIP_H if family == "sd2" else REFINER_G: wide}
    return random_tensors(parts, dtype)


def write_tiny_family(path: Path, family: str, marks: tuple[str, ...] = (), **changes: object) -> Path:
    """A small checkpoint file of a family, with empty tensors of these names as marks."""
    save_file(tensors_of(family, **changes) | {mark: torch.zeros(0) for mark in marks}, path)
    return path
