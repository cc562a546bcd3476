"""Encoders of T5 v1.1 and UMT5 within files: finds one below a prefix and builds it, or says which T5 it is."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.memory import Part
from executor.inference.text.sentencepiece import VOCABULARY
from executor.inference.text.t5_model import T5Shape, T5TextModel
from executor.inference.weights import WeightFile

T5_MARK = "encoder.block.0.layer.0.SelfAttention.q.weight"
"""The name by which a file of a T5 encoder is known."""
BIAS = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
MLP = "encoder.block.0.layer.1.DenseReluDense."
TABLE, OTHER_TABLE = "shared.weight", "encoder.embed_tokens.weight"
ROWS = 32128
"""Of T5's table of token vectors; other vocabularies have more."""
T5_FITS = "the encoder of T5 v1.1 fits here, such as t5xxl_fp16.safetensors"
UMT5_FITS = "UMT5-XXL fits here in ComfyUI's form, such as umt5_xxl_fp8_e4m3fn_scaled.safetensors"


def t5_prefix(tensors: Mapping[str, Tensor]) -> str | None:
    """What the names of the T5 encoder in a file begin with; None when there is none."""
    return next((name.removesuffix(T5_MARK) for name in tensors if name.endswith(T5_MARK)), None)


def build_t5(file: WeightFile, prefix: str, what: str = "T5 text encoder", *, umt5: bool = False) -> Part[T5TextModel]:
    """The T5 encoder below a prefix, or the UMT5 encoder, weights mapped.

    Raises ModelFileError when it is another T5, or tensors are missing or do not fit together.
    """
    inside = {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
    if umt5 and not is_umt5(inside):
        raise ModelFileError(file.path, "is no UMT5 encoder: its layers have no bias of distances each", UMT5_FITS)
    if not umt5:
        refuse_others(file, inside)
    try:
        shape = read_t5_shape(inside)
    except KeyError as error:
        raise ModelFileError(file.path, f"its {what} lacks {error.args[0]}", T5_FITS) from error
    if shape.inner % shape.heads:
        raise ModelFileError(file.path, f"{shape.heads} attention heads do not divide its width {shape.inner}")
    keys = {prefix + name: name for name in inside}
    if TABLE not in inside:
        keys[prefix + OTHER_TABLE] = TABLE
    return build_part(file, what, "text", lambda: T5TextModel(shape), keys)


def is_umt5(tensors: Mapping[str, Tensor]) -> bool:
    """Whether every layer of a T5 encoder has a bias of distances of its own."""
    return BIAS.format(1) in tensors


def vocabulary_of(file: WeightFile) -> Tensor:
    """The bytes [n] of the vocabulary in a file; ModelFileError when it has none."""
    found = next((tensor for name, tensor in file.tensors.items() if name.endswith(VOCABULARY)), None)
    if found is None:
        raise ModelFileError(file.path, f"holds a UMT5 encoder without its vocabulary ({VOCABULARY})", UMT5_FITS)
    return found


def refuse_others(file: WeightFile, tensors: Mapping[str, Tensor]) -> None:
    """Raise ModelFileError for T5 encoders of another outline or vocabulary."""
    table = tensors.get(TABLE, tensors.get(OTHER_TABLE))
    rows = 0 if table is None else table.shape[0]
    if f"{MLP}wi.weight" in tensors:
        raise ModelFileError(file.path, "is a T5 v1.0 encoder, whose layers have no gates", T5_FITS)
    if is_umt5(tensors):
        raise ModelFileError(file.path, "is a UMT5 encoder, whose layers each have a bias of distances", T5_FITS)
    if rows > ROWS:
        raise ModelFileError(file.path, f"is an mT5 encoder, whose vocabulary has {rows} tokens", T5_FITS)


def read_t5_shape(tensors: Mapping[str, Tensor]) -> T5Shape:
    """Sizes of a T5 encoder from its tensors by the module's names; KeyError when it lacks one that tells a size."""
    vocabulary, width = (tensors[TABLE] if TABLE in tensors else tensors[OTHER_TABLE]).shape
    buckets, heads = tensors[BIAS.format(0)].shape
    return T5Shape(
        width=width,
        layers=len({name.split(".")[2] for name in tensors if name.startswith("encoder.block.")}),
        heads=heads,
        inner=tensors[T5_MARK].shape[0],
        intermediate=tensors[f"{MLP}wi_0.weight"].shape[0],
        vocabulary=vocabulary,
        buckets=buckets,
        each_biased=is_umt5(tensors),
    )
