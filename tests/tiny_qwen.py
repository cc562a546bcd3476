"""Small Qwen2.5-VL models with random weights under their original names. No product code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.tiny_checkpoint import Shapes, random_tensors

HEAD, SEEING_HEAD = 128, 80
ROWS = 151665  # of the table: every token
WIDTH = 128


def text_shapes(
    width: int = WIDTH, *, layers: int = 2, heads: int = 1, key_heads: int = 1, rows: int = ROWS, inner: int = 96
) -> Shapes:
    """Every tensor of the language part."""
    shapes: Shapes = {"model.embed_tokens.weight": (rows, width), "model.norm.weight": (width,)}
    for number in range(layers):
        layer = f"model.layers.{number}"
        for side, count in (("q", heads), ("k", key_heads), ("v", key_heads)):
            shapes[f"{layer}.self_attn.{side}_proj.weight"] = (count * HEAD, width)
            shapes[f"{layer}.self_attn.{side}_proj.bias"] = (count * HEAD,)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (width, heads * HEAD)
        shapes |= {f"{layer}.mlp.{side}_proj.weight": (inner, width) for side in ("gate", "up")}
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, inner)
        shapes |= {f"{layer}.{place}_layernorm.weight": (width,) for place in ("input", "post_attention")}
    return shapes


def vision_shapes(width: int = 2 * SEEING_HEAD, *, layers: int = 8, inner: int = 96, out: int = WIDTH) -> Shapes:
    """Every tensor of what sees pictures."""
    shapes: Shapes = {"visual.patch_embed.proj.weight": (width, 3, 2, 14, 14)}
    for number in range(layers):
        block = f"visual.blocks.{number}"
        sizes = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.down_proj": (width, inner)}
        sizes |= {f"mlp.{side}_proj": (inner, width) for side in ("gate", "up")}
        for name, size in sizes.items():
            shapes |= {f"{block}.{name}.weight": size, f"{block}.{name}.bias": size[:1]}
        shapes |= {f"{block}.norm{place}.weight": (width,) for place in (1, 2)}
    shapes["visual.merger.ln_q.weight"] = (width,)
    for name, size in (("0", (4 * width, 4 * width)), ("2", (out, 4 * width))):
        shapes |= {f"visual.merger.mlp.{name}.weight": size, f"visual.merger.mlp.{name}.bias": size[:1]}
    return shapes


def qwen_tensors(*, sees: bool = True, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights of a model that knows every token."""
    return random_tensors({"": text_shapes() | (vision_shapes() if sees else {})}, dtype)


def write_qwen(path: Path, *, sees: bool = True) -> Path:
    """A file of such a model, in 16 bits."""
    save_file(qwen_tensors(sees=sees, dtype=torch.float16), path)
    return path
