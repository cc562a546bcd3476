"""Files of Stable Diffusion 3's ControlNets, in diffusers' names or Stability AI's. Knows no pictures.

A file in diffusers' names holds queries, keys and values apart: they are joined in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isqrt

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.families.ldm_unet import count_under
from executor.inference.fused_layers import original_tensors
from executor.inference.memory import Part
from executor.inference.mmdit import MMDiTShape
from executor.inference.mmdit_control import MMDiTControl, MMDiTControlShape
from executor.inference.mmdit_names import diffusers_layers
from executor.inference.weights import WeightFile

MARK = "pos_embed_input.proj.weight"
BLOCKS, PLACES = "transformer_blocks.", "pos_embed.pos_embed"
HEAD_WIDTH = 64


def read_mmdit_control(file: WeightFile) -> Part[nn.Module]:
    """The network of a file that has MARK.

    Raises ModelFileError when tensors are missing or do not fit together.
    """
    try:
        tensors = network_tensors(file.tensors)
        shape = read_shape(tensors)
    except KeyError as error:
        raise ModelFileError(file.path, f"its ControlNet lacks {error.args[0]}") from error
    if shape.base.width % HEAD_WIDTH:
        raise ModelFileError(file.path, f"heads of width {HEAD_WIDTH} do not divide its width {shape.base.width}")
    whole = replace(file, tensors=tensors)
    return build_part(whole, "ControlNet", "diffusion", lambda: MMDiTControl(shape), {name: name for name in tensors})


def network_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors by the network's names."""
    width, depth = tensors[MARK].shape[0], count_under(tensors, BLOCKS)
    layers = diffusers_layers(depth + 1, width)  # no block of it is the transformer's last
    return {plain_name(name): tensor for name, tensor in tensors.items()} | original_tensors(tensors, layers)


def plain_name(name: str) -> str:
    """The network's name of a tensor that Stability AI names, or that is named alike by all."""
    if name.startswith(BLOCKS):
        _, number, rest = name.split(".", 2)
        return f"joint_blocks.{number}.x_block.{rest}"
    return "pos_embed" if name == PLACES else name


def read_shape(tensors: Mapping[str, Tensor]) -> MMDiTControlShape:
    """Sizes of a network from its tensors by its own names; KeyError when parts are missing."""
    width, hint, patch, _ = tensors[MARK].shape
    text, depth = tensors.get("context_embedder.weight"), count_under(tensors, "joint_blocks.")
    norm = tensors.get("joint_blocks.0.x_block.attn.ln_q.weight")
    second = (number for number in range(depth) if f"joint_blocks.{number}.x_block.attn2.qkv.weight" in tensors)
    base = MMDiTShape(
        in_channels=hint if text is None else tensors["x_embedder.proj.weight"].shape[1],
        out_channels=hint,
        patch=patch,
        width=width,
        heads=max(1, width // (HEAD_WIDTH if norm is None else norm.shape[0])),
        inner=tensors["joint_blocks.0.x_block.mlp.fc1.weight"].shape[0],
        depth=depth,
        context=0 if text is None else text.shape[1],
        vector=tensors["y_embedder.mlp.0.weight"].shape[1],
        frequencies=tensors["t_embedder.mlp.0.weight"].shape[1],
        places=0 if text is None else isqrt(tensors["pos_embed"].shape[1]),
        normed=norm is not None,
        dual=frozenset(second),
    )
    return MMDiTControlShape(base=base, hint=hint)
