"""CLIP text models within files: finds one below a prefix, in transformers' names or OpenCLIP's, and builds it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.memory import Part
from executor.inference.text.clip_model import ClipShape, ClipTextModel
from executor.inference.text.kinds import EncoderKind
from executor.inference.text.open_clip import MARK, transformers_names
from executor.inference.weights import WeightFile

# the wrappers of the text model's names; files from before 2023 may lack it
WRAPPER = "text_model."
FIRST_LAYER = "encoder.layers.0.mlp.fc1.weight"
HEAD_WIDTH = 64
FEWEST_HEADS = 4
UNUSED = ("position_ids", "logit_scale")


def is_open_clip(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether the text model below a prefix has OpenCLIP's names."""
    return prefix + MARK in tensors


def text_tensors(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of the text model below a prefix by the module's names."""
    inside = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if MARK in inside:
        return transformers_names(inside)
    return {module_key(name): tensor for name, tensor in inside.items() if not name.endswith(UNUSED)}


def module_key(name: str) -> str:
    """The module's name of a tensor in transformers' form."""
    return name.removeprefix(WRAPPER)


def read_text_shape(tensors: Mapping[str, Tensor], kind: EncoderKind, heads: int | None = None) -> ClipShape:
    """Sizes of a text model from its tensors by the module's names; KeyError when it lacks its tables or first layer.

    Head counts are not in the tensors: `heads`, or as many as are 64 wide, but at least 4.
    """
    vocabulary, width = tensors["embeddings.token_embedding.weight"].shape
    layers = {name.split(".")[2] for name in tensors if name.startswith("encoder.layers.")}
    projection = tensors.get("text_projection.weight")
    return ClipShape(
        width=width,
        layers=len(layers),
        heads=heads or max(width // HEAD_WIDTH, FEWEST_HEADS),
        intermediate=tensors[FIRST_LAYER].shape[0],
        vocabulary=vocabulary,
        positions=tensors["embeddings.position_embedding.weight"].shape[0],
        activation=kind.activation,
        projection=None if projection is None else projection.shape[0],
    )


def build_text_model(
    file: WeightFile, prefix: str, shape: ClipShape, what: str = "text encoder"
) -> Part[ClipTextModel]:
    """The text model below a prefix, weights mapped.

    Raises ModelFileError when tensors are missing or do not fit together.
    """
    if is_open_clip(file.tensors, prefix):
        renamed = text_tensors(file.tensors, prefix)
        keys = {name: name for name in renamed}
        return build_part(WeightFile(path=file.path, tensors=renamed), what, "text", lambda: ClipTextModel(shape), keys)
    keys = {
        name: module_key(name[len(prefix) :])
        for name in file.tensors
        if name.startswith(prefix) and not name.endswith(UNUSED)
    }
    return build_part(file, what, "text", lambda: ClipTextModel(shape), keys)


def checked_heads(file: WeightFile, shape: ClipShape) -> ClipShape:
    """The same sizes; ModelFileError when the heads do not divide the width."""
    if shape.width % shape.heads:
        raise ModelFileError(file.path, f"{shape.heads} attention heads do not divide its width {shape.width}")
    return shape
