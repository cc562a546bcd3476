"""OpenCLIP's text models (Cherti et al. 2022, arXiv:2212.07143): their tensors under transformers' names, and back.

Knows names only; sizes and kinds are clip_file.py's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

MARK = "transformer.resblocks.0.attn.in_proj_weight"
"""The name by which a file of this layout is known."""

BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
TOP = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def transformers_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP's text tensors under transformers' names: joint projections apart, the last one turned round.

    No weight is copied but the last projection, which the file keeps the other way round.
    """
    renamed = {TOP[name]: tensor for name, tensor in tensors.items() if name in TOP}
    for name, tensor in tensors.items():
        if name == "text_projection":
            renamed["text_projection.weight"] = tensor.transpose(0, 1).contiguous()
        elif name == "text_projection.weight":
            renamed[name] = tensor
        elif found := BLOCK.fullmatch(name):
            renamed |= layer_names(f"encoder.layers.{found[1]}", found[2], tensor)
    return renamed


def layer_names(layer: str, rest: str, tensor: Tensor) -> dict[str, Tensor]:
    """One tensor of a layer under its names there."""
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        pieces = tensor.chunk(3)
        return {f"{layer}.self_attn.{part}_proj.{kind}": piece for part, piece in zip("qkv", pieces, strict=True)}
    stem, _, kind = rest.rpartition(".")
    return {f"{layer}.{LAYERS.get(stem, stem)}.{kind}": tensor}


def original_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `transformers_names`: joint projections put together, the last one turned back."""
    top = {theirs: ours for ours, theirs in TOP.items()}
    layers = {theirs: ours for ours, theirs in LAYERS.items()}
    found = {top[name]: tensor for name, tensor in tensors.items() if name in top}
    for name, tensor in tensors.items():
        if name == "text_projection.weight":
            found["text_projection"] = tensor.transpose(0, 1)
        if not name.startswith("encoder.layers."):
            continue
        number, rest = name.removeprefix("encoder.layers.").split(".", 1)
        block, (stem, _, kind) = f"transformer.resblocks.{number}", rest.rpartition(".")
        if stem in layers:
            found[f"{block}.{layers[stem]}.{kind}"] = tensor
        elif stem == "self_attn.q_proj":
            joint = [tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            found[f"{block}.attn.in_proj_{kind}"] = torch.cat(joint)
    return found
