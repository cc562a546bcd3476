"""Layers of Qwen-Image (Wu et al. 2025, arXiv:2508.02324), named as in its files. Know no order of blocks.

A block sees the tokens of text and picture together, with weights of its own for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.inference.flux_layers import bounded, mixed, plain_norm
from executor.inference.hooks import Options

NORM_EPS = 1e-6
BRANCHES = 2
DRAWN = "weft.drawn"
"""What the options call how many of the pictures' tokens are drawn, where the others have a time of their own."""
ONE = 2  # dimensions of one row for each picture of a batch
Triple = tuple[Tensor, Tensor, Tensor]


class TimestepEmbedding(nn.Module):
    """Waves that stand for a time to a vector."""

    def __init__(self, waves: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(waves, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, waves] to [B, width]."""
        return self.linear_2(functional.silu(self.linear_1(x)))  # type: ignore[no-any-return]


class TimeEmbedder(nn.Module):
    """The one vector that such a network is led by: text leads by its tokens alone."""

    def __init__(self, waves: int, width: int) -> None:
        super().__init__()
        self.timestep_embedder = TimestepEmbedding(waves, width)

    def forward(self, waves: Tensor) -> Tensor:
        """Waves [B, waves] to [B, width]."""
        return self.timestep_embedder(waves)  # type: ignore[no-any-return]


class Modulated(NamedTuple):
    """What the time makes of one branch: how its input is changed, and how much of its answer counts."""

    shift: Tensor
    scale: Tensor
    gate: Tensor  # [B, 1 or N, C] each

    def of(self, x: Tensor) -> Tensor:
        """A normed input [B, N, C], changed."""
        return torch.addcmul(self.shift, x, 1 + self.scale)


class Gelu(nn.Module):
    """A linear layer and a GELU behind it."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] to [..., inner]."""
        return functional.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    """A wider layer and back; what stood between them in training has kept its number."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gelu(width, inner), nn.Identity(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] to the same shape."""
        return self.net(x)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Attention of all tokens to each other, projected by weights of the picture's and of the text's own."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.to_add_out = nn.Linear(width, width)
        norms = (nn.RMSNorm(width // heads, eps=NORM_EPS) for _ in range(4))
        self.norm_q, self.norm_k, self.norm_added_q, self.norm_added_k = norms

    def forward(
        self, img: Tensor, txt: Tensor, turns: Tensor, mask: Tensor | None, options: Options
    ) -> tuple[Tensor, Tensor]:
        """Tokens of picture [B, N, C] and text [B, T, C] to the same shapes; `turns` are the text's first."""
        of_text = self.by_heads(
            (self.add_q_proj(txt), self.add_k_proj(txt), self.add_v_proj(txt)), self.norm_added_q, self.norm_added_k
        )
        of_picture = self.by_heads((self.to_q(img), self.to_k(img), self.to_v(img)), self.norm_q, self.norm_k)
        query, key, values = (torch.cat(pair, dim=2) for pair in zip(of_text, of_picture, strict=True))
        both, text = mixed(query, key, values, turns, mask, options, self.heads), txt.shape[1]
        return self.to_out[0](both[:, text:]), self.to_add_out(both[:, :text])

    def by_heads(self, triple: Triple, norm_q: nn.Module, norm_k: nn.Module) -> Triple:
        """Queries, keys and values [B, N, C] as [B, heads, N, C / heads], the first two normed."""
        query, key, values = (each.reshape(*each.shape[:2], self.heads, -1).transpose(1, 2) for each in triple)
        return norm_q(query), norm_k(key), values


class TransformerBlock(nn.Module):
    """Attention of all tokens and a layer for each, with weights for the picture's and the text's."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.img_mod, self.txt_mod = modulation(width), modulation(width)
        self.img_norm1, self.img_norm2 = plain_norm(width), plain_norm(width)
        self.txt_norm1, self.txt_norm2 = plain_norm(width), plain_norm(width)
        self.attn = Attention(width, heads)
        self.img_mlp, self.txt_mlp = FeedForward(width, inner), FeedForward(width, inner)

    def forward(
        self,
        img: Tensor,
        txt: Tensor,
        vec: Tensor,
        pe: Tensor,
        attn_mask: Tensor | None = None,
        transformer_options: Options | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens of the picture [B, N, C] and of the text [B, T, C] under a vector [B, C] to the same shapes.

        Of two vectors [B, 2, C] the first is the text's and that of what is drawn, the second is for further pictures.
        """
        options = transformer_options or {}
        img_first, img_second = branches(self.img_mod(vec), img.shape[1], options)
        txt_first, txt_second = branches(self.txt_mod(vec if vec.ndim == ONE else vec[:, 0]), txt.shape[1], options)
        img_mixed, txt_mixed = self.attn(
            img_first.of(self.img_norm1(img)),
            txt_first.of(self.txt_norm1(txt)),
            pe,
            attn_mask,
            options,
        )
        img = torch.addcmul(img, img_first.gate, img_mixed)
        img = torch.addcmul(img, img_second.gate, self.img_mlp(img_second.of(self.img_norm2(img))))
        txt = torch.addcmul(txt, txt_first.gate, txt_mixed)
        txt = torch.addcmul(txt, txt_second.gate, self.txt_mlp(txt_second.of(self.txt_norm2(txt))))
        return bounded(img), bounded(txt)


class LastNorm(nn.Module):
    """The norm behind the blocks, changed by the time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = plain_norm(width), nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        """x [B, N, C] under a vector [B, C] to the same shape."""
        scale, shift = self.linear(functional.silu(vec))[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


def spread(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Rows [B, R, C], each as often as counted [B, N, C]."""
    return torch.cat([rows[:, at : at + 1].expand(-1, count, -1) for at, count in enumerate(counts)], dim=1)


def modulation(width: int) -> nn.Sequential:
    """What makes the changes of two branches of a time."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * BRANCHES * width))


def branches(numbers: Tensor, tokens: int, options: Options) -> Sequence[Modulated]:
    """The two branches' changes, side by side [B, 6 C], apart; of two rows [B, 2, 6 C] each for its tokens."""
    rows = numbers[:, None] if numbers.ndim == ONE else numbers
    parts = rows.chunk(3 * BRANCHES, dim=-1)
    if rows.shape[1] > 1:
        drawn = cast(int, options[DRAWN])
        counts = (drawn, tokens - drawn)
        parts = tuple(spread(part, counts) for part in parts)
    return Modulated(*parts[:3]), Modulated(*parts[3:])
