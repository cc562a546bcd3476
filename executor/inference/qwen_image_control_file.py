"""Files of Qwen-Image's ControlNets, in diffusers' names, which are the network's. Knows no pictures."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.families.qwen_image import MARKS, read_qwen_image_shape
from executor.inference.memory import Part
from executor.inference.qwen_image_control import QwenImageControl, QwenImageControlShape
from executor.inference.weights import WeightFile

HINT = "controlnet_x_embedder.weight"


def is_qwen_control(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are tensors of such a network: those of Flux.1's have other ones beside the picture's layer."""
    return HINT in tensors and all(mark in tensors for mark in MARKS)


def read_qwen_control(file: WeightFile) -> Part[nn.Module]:
    """The network of a file; ModelFileError when tensors are missing or do not fit together."""
    tensors = file.tensors
    try:
        base = read_qwen_image_shape({**tensors, "proj_out.weight": tensors["img_in.weight"].T})
        shape = QwenImageControlShape(base=base, hint_features=tensors[HINT].shape[1])
    except KeyError as error:
        raise ModelFileError(file.path, f"its ControlNet lacks {error.args[0]}") from error
    return build_part(
        file, "ControlNet", "diffusion", lambda: QwenImageControl(shape), {name: name for name in tensors}
    )
