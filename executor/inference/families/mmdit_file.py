"""The transformer of Stable Diffusion 3 files: sizes read from its tensors, and diffusers' names brought to its own."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

from torch import Tensor

from executor.inference.families.ldm_unet import count_under
from executor.inference.fused_layers import original_tensors
from executor.inference.mmdit import MMDiTShape
from executor.inference.mmdit_names import diffusers_layers

FIRST = "joint_blocks.0.x_block.attn.qkv.weight"
HEAD_WIDTH = 64
BLOCKS, PLACES = "transformer_blocks.", "pos_embed.pos_embed"
THEIRS = (PLACES, f"{BLOCKS}0.attn.add_q_proj.weight", "norm_out.linear.weight")
"""Tensors that diffusers' file of such a transformer has, and a ControlNet's or another transformer's has not."""


def is_mmdit(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are such a transformer's in the original names, with those that tell its sizes."""
    return all(name in tensors for name in (FIRST, "pos_embed", "context_embedder.weight", "y_embedder.mlp.0.weight"))


def is_in_diffusers_names(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are such a transformer's in diffusers' names."""
    return all(name in tensors for name in THEIRS)


def tensors_of_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of such a transformer in the original names; KeyError when it lacks one that tells a size."""
    layers = diffusers_layers(count_under(tensors, BLOCKS), tensors["pos_embed.proj.weight"].shape[0])
    alike = {name: tensor for name, tensor in tensors.items() if name.startswith("context_embedder.")}
    return original_tensors(tensors, layers) | alike | {"pos_embed": tensors[PLACES]}


def read_mmdit_shape(tensors: Mapping[str, Tensor], heads: int | None = None) -> MMDiTShape:
    """Sizes of a transformer from its tensors by their names below the prefix; KeyError when parts are missing.

    Head counts are in the tensors only where queries are normed: else `heads`, or as many as are 64 wide.
    """
    width, channels, patch, _ = tensors["x_embedder.proj.weight"].shape
    depth, norm = count_under(tensors, "joint_blocks."), tensors.get("joint_blocks.0.x_block.attn.ln_q.weight")
    head_width = HEAD_WIDTH if norm is None else norm.shape[0]
    second = (number for number in range(depth) if f"joint_blocks.{number}.x_block.attn2.qkv.weight" in tensors)
    return MMDiTShape(
        in_channels=channels,
        out_channels=tensors["final_layer.linear.weight"].shape[0] // patch**2,
        patch=patch,
        width=width,
        heads=(heads if norm is None else None) or max(1, width // head_width),
        inner=tensors["joint_blocks.0.x_block.mlp.fc1.weight"].shape[0],
        depth=depth,
        context=tensors["context_embedder.weight"].shape[1],
        vector=tensors["y_embedder.mlp.0.weight"].shape[1],
        frequencies=tensors["t_embedder.mlp.0.weight"].shape[1],
        places=isqrt(tensors["pos_embed"].shape[1]),
        normed=norm is not None,
        dual=frozenset(second),
    )
