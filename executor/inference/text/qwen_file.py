"""Qwen2.5-VL within files: finds it below a prefix and builds it. Knows no prompts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.memory import Part
from executor.inference.text.qwen_model import HEAD_WIDTH, QwenShape, QwenTextModel
from executor.inference.text.qwen_vision import HEAD_WIDTH as SEEING_HEAD
from executor.inference.text.qwen_vision import QwenVisionShape
from executor.inference.weights import WeightFile

QWEN_MARK = "model.layers.0.self_attn.k_proj.bias"
"""The name by which a file of such a model is known: younger ones have no biases there."""
TABLE = "model.embed_tokens.weight"
LAYER = "model.layers.0."
SEEN = "visual.patch_embed.proj.weight"
QWEN_FITS = "Qwen2.5-VL fits here, such as qwen_2.5_vl_7b.safetensors"


def qwen_prefix(tensors: Mapping[str, Tensor]) -> str | None:
    """What the names of the Qwen2.5-VL in a file begin with; None when there is none."""
    return next((name.removesuffix(QWEN_MARK) for name in tensors if name.endswith(QWEN_MARK)), None)


def build_qwen(file: WeightFile, prefix: str, what: str = "Qwen2.5-VL text encoder") -> Part[QwenTextModel]:
    """The model below a prefix, weights mapped; ModelFileError when tensors are missing or do not fit together."""
    inside = {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
    try:
        shape = read_qwen_shape(inside)
    except KeyError as error:
        raise ModelFileError(file.path, f"its {what} lacks {error.args[0]}", QWEN_FITS) from error
    if not shape.key_heads or shape.heads % shape.key_heads:
        heads = f"{shape.key_heads} heads of keys for {shape.heads} heads of {HEAD_WIDTH} numbers"
        raise ModelFileError(file.path, f"its {what} has {heads}", QWEN_FITS)
    if shape.vision is not None and shape.vision.width % SEEING_HEAD:
        told = f"sees pictures by a width of {shape.vision.width}, no whole number of heads of {SEEING_HEAD}"
        raise ModelFileError(file.path, f"its {what} {told}", QWEN_FITS)
    return build_part(file, what, "text", lambda: QwenTextModel(shape), {prefix + name: name for name in inside})


def read_qwen_shape(tensors: Mapping[str, Tensor]) -> QwenShape:
    """Sizes of a model from its tensors by the module's names; KeyError when it lacks one that tells a size."""
    vocabulary, width = tensors[TABLE].shape
    return QwenShape(
        width=width,
        layers=count(tensors, "model.layers."),
        heads=tensors[f"{LAYER}self_attn.q_proj.weight"].shape[0] // HEAD_WIDTH,
        key_heads=tensors[f"{LAYER}self_attn.k_proj.weight"].shape[0] // HEAD_WIDTH,
        intermediate=tensors[f"{LAYER}mlp.gate_proj.weight"].shape[0],
        vocabulary=vocabulary,
        vision=read_vision_shape(tensors) if SEEN in tensors else None,
    )


def read_vision_shape(tensors: Mapping[str, Tensor]) -> QwenVisionShape:
    """Sizes of what sees pictures; KeyError when it lacks one that tells a size."""
    return QwenVisionShape(
        width=tensors[SEEN].shape[0],
        layers=count(tensors, "visual.blocks."),
        intermediate=tensors["visual.blocks.0.mlp.gate_proj.weight"].shape[0],
        out=tensors["visual.merger.mlp.2.weight"].shape[0],
    )


def count(tensors: Mapping[str, Tensor], place: str) -> int:
    """How many layers stand below a place."""
    return len({name[len(place) :].split(".")[0] for name in tensors if name.startswith(place)})
