"""A ControlNet that was trained on many kinds of pictures at once and is told which one it sees.

ControlNet++ / ProMax (xinsir 2024, github.com/xinsir6/ControlNetPlus), whose layout is diffusers' ControlNetUnionModel.
Knows no files and no strengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.inference.casting import like
from executor.inference.controlnet_model import ControlNet, ControlNetShape
from executor.inference.unet_layers import timestep_embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class UnionShape:
    """Sizes of what a union ControlNet has beside a ControlNet's layers."""

    kinds: int  # of pictures
    number: int  # width of the vector that stands for one kind's yes or no
    width: int  # of the transformer
    layers: int


class OwnAttention(nn.Module):
    """Attention of a token that has only itself to attend to.

    The original lets rows of a batch attend to each other; they all show the same picture, so each answers itself.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C] to the same shape."""
        weight, bias = self.in_proj_weight.chunk(3)[2], self.in_proj_bias.chunk(3)[2]
        mixed: Tensor = self.out_proj(functional.linear(x, weight.to(x), like(bias, x)))
        return mixed


class UnionMlp(nn.Module):
    """Two linear layers around the quick GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] to the same shape."""
        wide = self.c_fc(x)
        back: Tensor = self.c_proj(wide * torch.sigmoid(1.702 * wide))
        return back


class UnionLayer(nn.Module):
    """Attention and feed-forward, each behind a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn, self.mlp = OwnAttention(width), UnionMlp(width)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] to the same shape."""
        x = x + self.attn(self.ln_1(x))
        both: Tensor = x + self.mlp(self.ln_2(x))
        return both


class KindEmbedding(nn.Module):
    """Two linear layers around a SiLU, named as in the files."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(into, out), nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, into] to [B, out]."""
        wide: Tensor = self.linear_2(functional.silu(self.linear_1(x)))
        return wide


class UnionControlNet(ControlNet):
    """A ControlNet beside which a transformer says how a kind of picture is to be read."""

    def __init__(self, shape: ControlNetShape, union: UnionShape) -> None:
        super().__init__(shape)
        self.union = union
        self.task_embedding = nn.Parameter(torch.empty(union.kinds, union.width))
        # spelt so in the files
        self.transformer_layes = nn.ModuleList(UnionLayer(union.width) for _ in range(union.layers))
        self.spatial_ch_projs = nn.Linear(union.width, shape.unet.width)
        self.control_add_embedding = KindEmbedding(union.kinds * union.number, shape.unet.embedding)

    def embedded(self, timesteps: Tensor, y: Tensor | None, kinds: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The embedding [B, E] of time, vector and kinds; no kind leaves open what the picture shows."""
        told = torch.zeros(self.union.kinds, device=timesteps.device)
        told[list(kinds)] = 1.0
        numbers = timestep_embedding(told, self.union.number).reshape(1, -1).to(dtype)
        whole: Tensor = super().embedded(timesteps, y, kinds, dtype) + self.control_add_embedding(numbers)
        return whole

    def guided(self, hint: Tensor, kinds: Sequence[int]) -> Tensor:
        """The picture's features [B, C, h, w], shifted by channel as the transformer says."""
        features = super().guided(hint, kinds)
        token = features.mean(dim=(2, 3))
        for kind in kinds:
            token = token + self.task_embedding[kind].to(token)
        for layer in self.transformer_layes:
            token = layer(token)
        shifted: Tensor = features + self.spatial_ch_projs(token)[:, :, None, None]
        return shifted
