"""Files of Flux.1's ControlNets, in diffusers' names or XLabs'. Knows no pictures.

Those in diffusers' names hold queries, keys and values apart, which are joined in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.families.diffusers_flux import joined, norms
from executor.inference.families.ldm_unet import count_under
from executor.inference.flux import FluxShape
from executor.inference.flux_control import FluxControl, FluxControlShape
from executor.inference.memory import Part
from executor.inference.weights import WeightFile

FLUX_MARK, PIXEL_MARK = "controlnet_x_embedder.weight", "pos_embed_input.weight"
MARKS = (FLUX_MARK, PIXEL_MARK)
OWN = ("controlnet_x_embedder.", "controlnet_blocks.", "controlnet_single_blocks.", "controlnet_mode_embedder.")
NORM = "double_blocks.0.img_attn.norm.query_norm.scale"


def read_flux_control(file: WeightFile) -> Part[nn.Module]:
    """The network of a file that has one of MARKS; ModelFileError when tensors are missing or do not fit together."""
    try:
        tensors = original_tensors(file.tensors)
        shape = read_control_shape(tensors)
    except KeyError as error:
        raise ModelFileError(file.path, f"its ControlNet lacks {error.args[0]}") from error
    whole = replace(file, tensors=tensors)
    return build_part(whole, "ControlNet", "diffusion", lambda: FluxControl(shape), {name: name for name in tensors})


def original_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors by the network's names; KeyError when it lacks one that tells sizes."""
    if PIXEL_MARK in tensors:
        return {name.replace("pos_embed_input.", "controlnet_x_embedder."): tensor for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(OWN)}
    return {**joined(tensors), **dict(norms(tensors)), **own}


def read_control_shape(tensors: Mapping[str, Tensor]) -> FluxControlShape:
    """Sizes of a network from its tensors by its own names; KeyError when parts are missing."""
    width, features = tensors["img_in.weight"].shape
    kinds = tensors.get("controlnet_mode_embedder.weight")
    base = FluxShape(
        in_features=features,
        out_features=features,
        width=width,
        heads=max(1, width // tensors[NORM].shape[0]),
        inner=tensors["double_blocks.0.img_mlp.0.weight"].shape[0],
        double_blocks=count_under(tensors, "double_blocks."),
        single_blocks=count_under(tensors, "single_blocks."),
        context=tensors["txt_in.weight"].shape[1],
        vector=tensors["vector_in.in_layer.weight"].shape[1],
        waves=tensors["time_in.in_layer.weight"].shape[1],
        guidance="guidance_in.in_layer.weight" in tensors,
    )
    return FluxControlShape(
        base=base,
        hint_features=tensors[FLUX_MARK].shape[1],
        kinds=0 if kinds is None else kinds.shape[0],
        pixels="input_hint_block.0.weight" in tensors,
    )
