"""The two namings of a vision model's tensors, OpenCLIP's and transformers', and the way from one to the other."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

MARK = "visual.transformer.resblocks.0.attn.in_proj_weight"
"""A tensor that files in OpenCLIP's names have."""
BLOCK = re.compile(r"visual\.transformer\.resblocks\.(\d+)\.(.+)")
THEIR_LAYER = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
TOP = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
LAYERS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
PROJECTION, THEIR_PROJECTION = "visual.proj", "visual_projection.weight"


def transformers_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP's vision tensors under transformers' names: joint projections apart, the last one turned round."""
    renamed = {TOP[name]: tensor for name, tensor in tensors.items() if name in TOP}
    if PROJECTION in tensors:
        renamed[THEIR_PROJECTION] = tensors[PROJECTION].transpose(0, 1).contiguous()
    for name, tensor in tensors.items():
        if found := BLOCK.fullmatch(name):
            layer = f"vision_model.encoder.layers.{found[1]}"
            if found[2].startswith("attn.in_proj_"):
                kind = found[2].removeprefix("attn.in_proj_")
                for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                    renamed[f"{layer}.self_attn.{part}_proj.{kind}"] = piece
            else:
                stem, _, kind = found[2].rpartition(".")
                renamed[f"{layer}.{LAYERS.get(stem, stem)}.{kind}"] = tensor
    return renamed


def open_clip_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Transformers' vision tensors under OpenCLIP's names: the inverse of `transformers_names`."""
    top = {theirs: ours for ours, theirs in TOP.items()}
    layers = {theirs: ours for ours, theirs in LAYERS.items()}
    renamed = {top[name]: tensor for name, tensor in tensors.items() if name in top}
    if THEIR_PROJECTION in tensors:
        renamed[PROJECTION] = tensors[THEIR_PROJECTION].transpose(0, 1).contiguous()
    for name, tensor in tensors.items():
        if found := THEIR_LAYER.fullmatch(name):
            number, stem, kind = found.groups()
            block = f"visual.transformer.resblocks.{number}"
            if stem == "self_attn.q_proj":
                joint = [tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
                renamed[f"{block}.attn.in_proj_{kind}"] = torch.cat(joint)
            elif stem in layers:
                renamed[f"{block}.{layers[stem]}.{kind}"] = tensor
    return renamed
