"""Small text encoders of Flux and SD3, with random weights under their original names. No product code."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from tests.tiny_checkpoint import Shapes, TinySizes, random_tensors, text_shapes

L_WIDTH, G_WIDTH, T5_WIDTH = 32, 48, 96


def t5_shapes(width: int = T5_WIDTH, *, layers: int = 2, heads: int = 2, inner: int = 16, rows: int = 32128) -> Shapes:
    """Every tensor of a T5 v1.1 encoder."""
    shapes: Shapes = {"shared.weight": (rows, width), "encoder.final_layer_norm.weight": (width,)}
    shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, heads)
    for number in range(layers):
        block = f"encoder.block.{number}.layer"
        shapes |= {f"{block}.0.SelfAttention.{side}.weight": (inner, width) for side in "qkv"}
        shapes |= {f"{block}.0.SelfAttention.o.weight": (width, inner)}
        shapes |= {f"{block}.1.DenseReluDense.{side}.weight": (2 * width, width) for side in ("wi_0", "wi_1")}
        shapes |= {f"{block}.1.DenseReluDense.wo.weight": (width, 2 * width)}
        shapes |= {f"{block}.{place}.layer_norm.weight": (width,) for place in range(2)}
    return shapes


def clip_shapes(width: int, layers: int = 3) -> Shapes:
    """Every tensor of a CLIP text model with a projection, in transformers' names."""
    inside = text_shapes(TinySizes(context=width, text_layers=layers))
    return {f"text_model.{name}": shape for name, shape in inside.items()} | {"text_projection.weight": (width, width)}


def encoder_tensors(name: str) -> dict[str, Tensor]:
    """Random weights of "clip_l", "clip_g" or "t5xxl" in the names of its own file."""
    shapes = {"clip_l": clip_shapes(L_WIDTH), "clip_g": clip_shapes(G_WIDTH), "t5xxl": t5_shapes()}
    return random_tensors({"": shapes[name]})


def write_encoders(folder: Path) -> dict[str, Path]:
    """A file of each."""
    paths = {name: folder / f"{name}.safetensors" for name in ("clip_l", "clip_g", "t5xxl")}
    for name, path in paths.items():
        save_file(encoder_tensors(name), path)
    return paths


def whole_texts(*names: str) -> dict[str, Tensor]:
    """Random weights of these encoders in the names that checkpoints of Flux and SD3 give them."""
    return {
        f"text_encoders.{name}.transformer.{key}": tensor
        for name in names
        for key, tensor in encoder_tensors(name).items()
    }
