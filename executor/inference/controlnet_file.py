"""Files of ControlNets and control LoRAs: what they are, and their weights in networks.

Original names and diffusers' are read. Knows no pictures and no strengths.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.controlnet_model import HINT_PLACES, ControlNet, ControlNetShape
from executor.inference.detect import describe
from executor.inference.families.diffusers_unet import original_unet_names
from executor.inference.families.ldm_unet import count_under, read_unet_shape
from executor.inference.flux_control_file import MARKS as FLUX_MARKS
from executor.inference.flux_control_file import read_flux_control
from executor.inference.memory import Part
from executor.inference.mmdit_control_file import MARK, read_mmdit_control
from executor.inference.qwen_image_control_file import is_qwen_control, read_qwen_control
from executor.inference.t2i_adapter_file import adapter_prefix, read_adapter
from executor.inference.unet import UNetShape
from executor.inference.union_controlnet import UnionControlNet, UnionShape
from executor.inference.weights import WeightFile

logger = logging.getLogger("weft.inference")
FITS = "a ControlNet, control LoRA or T2I-Adapter for Stable Diffusion fits here"
SD1_CONTEXT = 768
HEAD_WIDTH = 64
# what pools its features is known by its file's name alone
POOLED = re.compile(r".*_shuffle(_fp16|_sd15)?")
UNION = ("task_embedding", "transformer_layes.", "spatial_ch_projs.", "control_add_embedding.")
THEIR_HINT = re.compile(r"controlnet_cond_embedding\.(conv_in|conv_out|blocks\.(\d+))\.(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A network of a file."""

    part: Part[nn.Module]
    pooled: bool = False  # whether its features are averaged over the picture
    name: str = ""  # its file's, where that tells which pictures it reads


def read_controlnet(file: WeightFile, base: Mapping[str, Tensor] | None = None) -> Read:
    """The network of a file; `base` are the weights of the UNet that a difference or control LoRA is relative to.

    Raises ModelFileError when the file holds no such network or lacks its base.
    """
    names = file.tensors
    if "lora_controlnet" in names:
        return read_control_lora(file, base)
    for prefix in ("control_model.", ""):
        if f"{prefix}zero_convs.0.0.weight" in names:
            keys = {name: name[len(prefix) :] for name in names if name.startswith(prefix)}
            return read_net(file, keys, base)
    if "controlnet_cond_embedding.conv_in.weight" in names:
        return read_net(file, original_names(names), base)
    if is_qwen_control(names):
        return Read(part=read_qwen_control(file))
    if any(mark in names for mark in FLUX_MARKS):
        return Read(part=read_flux_control(file))
    if MARK in names:
        return Read(part=read_mmdit_control(file), name=file.path.stem)
    adapters = adapter_prefix(names)
    if adapters is not None:
        return Read(part=cast("Part[nn.Module]", read_adapter(file, adapters)))
    raise ModelFileError(file.path, f"looks like {describe(names)[0]}", FITS)


def read_net(file: WeightFile, keys: Mapping[str, str], base: Mapping[str, Tensor] | None) -> Read:
    """A ControlNet by the original names of its tensors (file's → original)."""
    tensors = {key: file.tensors[name] for name, key in keys.items()}
    if base is None and "difference" in file.tensors:
        told = "%s holds differences from a model, and steers little without it: load it with DiffControlNetLoader"
        logger.warning(told, file.path.name)
    if base is not None and "difference" in file.tensors:
        file = replace(file, tensors={name: with_base(file.tensors[name], base.get(keys[name])) for name in keys})
    shape = read_shape(file, tensors)
    unused = {"difference", "lora_controlnet"}
    used = {name: key for name, key in keys.items() if key not in unused}
    union = read_union(file, tensors)

    def build() -> ControlNet:
        return ControlNet(shape) if union is None else UnionControlNet(shape, union)

    part = build_part(file, "ControlNet", "diffusion", build, used)
    return Read(part=cast("Part[nn.Module]", part), pooled=POOLED.fullmatch(file.path.stem) is not None)


def with_base(difference: Tensor, weight: Tensor | None) -> Tensor:
    """A weight that is stored as its difference from the base's; one that the base has not is whole."""
    if weight is None or weight.shape != difference.shape:
        return difference
    return (difference.float() + weight.float()).to(difference.dtype)


def read_shape(file: WeightFile, tensors: Mapping[str, Tensor]) -> ControlNetShape:
    """Sizes of a ControlNet; ModelFileError naming the tensor that is missing."""
    try:
        unet = read_unet_shape(tensors)
        hints = [tensors[f"input_hint_block.{place}.weight"].shape for place in HINT_PLACES]
    except KeyError as error:
        raise ModelFileError(file.path, f"its ControlNet lacks {error.args[0]}") from error
    return ControlNetShape(unet=with_heads(unet), hint=tuple((side[1], side[0]) for side in hints))


def read_union(file: WeightFile, tensors: Mapping[str, Tensor]) -> UnionShape | None:
    """Sizes of a union ControlNet's further layers; None for another one, ModelFileError when some are missing."""
    if "task_embedding" not in tensors:
        return None
    try:
        kinds, width = tensors["task_embedding"].shape
        number = tensors["control_add_embedding.linear_1.weight"].shape[1] // kinds
    except KeyError as error:
        raise ModelFileError(file.path, f"its union ControlNet lacks {error.args[0]}") from error
    return UnionShape(kinds=kinds, number=number, width=width, layers=count_under(tensors, "transformer_layes."))


def with_heads(unet: UNetShape) -> UNetShape:
    """The shape with SD1.x's eight heads, or heads of width 64 for wider texts."""
    if unet.context is None or unet.context <= SD1_CONTEXT:
        return unet
    return replace(unet, head_width=HEAD_WIDTH)


def read_control_lora(file: WeightFile, base: Mapping[str, Tensor] | None) -> Read:
    """A ControlNet whose blocks are the base's with low-rank changes.

    Raises ModelFileError when there is no base: a control LoRA is nothing by itself.
    """
    if base is None:
        reason = "is a control LoRA, which needs the diffusion model that it changes"
        raise ModelFileError(file.path, reason, "load it with DiffControlNetLoader")
    tensors = {name: weight for name, weight in base.items() if is_encoders(name)}
    for name, tensor in file.tensors.items():
        if name.endswith(".up"):
            weight = f"{name.removesuffix('.up')}.weight"
            down = file.tensors[f"{name.removesuffix('.up')}.down"].float()
            if weight not in tensors:
                raise ModelFileError(file.path, f"changes {weight}, which the model has not")
            whole = tensors[weight]
            delta = (tensor.float().flatten(1) @ down.flatten(1)).reshape(whole.shape)
            tensors[weight] = (whole.float() + delta).to(whole.dtype)
        elif not name.endswith(".down") and name != "lora_controlnet":
            tensors[name] = tensor
    whole_file = WeightFile(path=file.path, tensors=tensors)
    return read_net(whole_file, {name: name for name in tensors}, None)


def is_encoders(name: str) -> bool:
    """Whether a UNet's weight is one that its ControlNet has too."""
    return name.startswith(("time_embed.", "label_emb.", "input_blocks.", "middle_block."))


def original_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The names of a ControlNet in diffusers' form → the original ones; names without one are left out."""
    names = original_unet_names(tensors)
    for name in tensors:
        stem, _, kind = name.rpartition(".")
        if name.startswith(UNION):
            names[name] = name
        elif stem.startswith("controlnet_down_blocks."):
            names[name] = f"zero_convs.{stem.removeprefix('controlnet_down_blocks.')}.0.{kind}"
        elif stem == "controlnet_mid_block":
            names[name] = f"middle_block_out.0.{kind}"
        elif found := THEIR_HINT.fullmatch(name):
            places = {"conv_in": HINT_PLACES[0], "conv_out": HINT_PLACES[-1]}
            place = places[found[1]] if found[2] is None else HINT_PLACES[int(found[2]) + 1]
            names[name] = f"input_hint_block.{place}.{found[3]}"
    return names
