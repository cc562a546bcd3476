"""Qwen2.5-VL's language part as an encoder (Bai et al. 2025, arXiv:2502.13923). Knows neither prompts nor files.

Module names are those of the weights in files. It is our own and not transformers' for the reasons that T5's is:
weights here may be of 8 bits and cast where they are used, and that library takes seconds to import.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.inference.interruption import stop_if_asked
from executor.inference.text.clip_model import Encoded
from executor.inference.text.qwen_vision import QwenVision, QwenVisionShape, turned

EPSILON = 1e-6
LONGEST_PERIOD = 1e6
HEAD_WIDTH = 128
AXES = (16, 24, 24)
"""How many pairs of a head's numbers are turned by a place's time, row and column; those of text are all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenShape:
    """Sizes of such a model; the defaults are those of the one of 7 billion weights."""

    width: int = 3584
    layers: int = 28
    heads: int = 28
    key_heads: int = 4  # each of which serves several heads
    intermediate: int = 18944
    vocabulary: int = 152064
    vision: QwenVisionShape | None = None  # of what sees pictures, where the file has it


class QwenAttention(nn.Module):
    """Attention of each place to those before it, several heads' queries to one head's keys."""

    def __init__(self, shape: QwenShape) -> None:
        super().__init__()
        inner, keys = shape.heads * HEAD_WIDTH, shape.key_heads * HEAD_WIDTH
        self.shared = shape.heads // shape.key_heads
        self.q_proj = nn.Linear(shape.width, inner)
        self.k_proj, self.v_proj = nn.Linear(shape.width, keys), nn.Linear(shape.width, keys)
        self.o_proj = nn.Linear(inner, shape.width, bias=False)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """Mix the places of x [B, T, C]; turns are cosines and sines [B, 1, T, 64]."""
        query, key, value = (
            project(x).unflatten(2, (-1, HEAD_WIDTH)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key = turned(query, turns), turned(key, turns)
        key, value = (each.repeat_interleave(self.shared, dim=1) for each in (key, value))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class QwenMlp(nn.Module):
    """Two linear layers side by side, one of which gates the other, and one behind (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, shape: QwenShape) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(shape.width, shape.intermediate, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(shape.intermediate, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, C] to the same shape."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class QwenLayer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, shape: QwenShape) -> None:
        super().__init__()
        self.self_attn, self.mlp = QwenAttention(shape), QwenMlp(shape)
        self.input_layernorm = nn.RMSNorm(shape.width, eps=EPSILON)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=EPSILON)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """x [B, T, C] to the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), turns)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class QwenStack(nn.Module):
    """The table of token vectors, the layers and the norm at their end."""

    def __init__(self, shape: QwenShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(QwenLayer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=EPSILON)


class QwenTextModel(nn.Module):
    """Token vectors to hidden states, and pictures to token vectors; there is no pooled vector."""

    def __init__(self, shape: QwenShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = QwenStack(shape)
        self.visual = None if shape.vision is None else QwenVision(shape.vision)

    def forward(self, vectors: Tensor, places: Tensor | None = None, *, layer: int | None = None) -> Encoded:
        """Encode token vectors [B, T, C] at places [B, 3, T], by default one behind the other.

        `layer` -1 is the last hidden state, -2 the one before, put through the final norm; None, or a layer that the
        model does not have, is the last. Raises Interrupted between layers when the user stopped the prompt.
        """
        if places is None:
            places = torch.arange(vectors.shape[1], device=vectors.device).expand(len(vectors), 3, -1)
        turns = turns_of(places)
        stop = len(self.model.layers) + 1 + layer if layer is not None and layer < 0 else 0
        x = vectors
        for number, transform in enumerate(self.model.layers, start=1):
            stop_if_asked()
            x = transform(x, turns)
            if number == stop:
                break
        return Encoded(self.model.norm(x), None)


def turns_of(places: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [B, 1, T, 64] for places [B, 3, T]."""
    steps = torch.arange(0, HEAD_WIDTH, 2, device=places.device, dtype=torch.float32) / HEAD_WIDTH
    axes = torch.repeat_interleave(torch.arange(3), torch.tensor(AXES)).to(places.device)
    angles = places.float()[:, axes].transpose(1, 2)[:, None] * LONGEST_PERIOD**-steps
    return angles.cos(), angles.sin()
