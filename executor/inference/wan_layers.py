"""Layers of Wan 2.1 and 2.2 (Wan team 2025, arXiv:2503.20314), named as in their files. Know no order of blocks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from executor.inference import attention
from executor.inference.hooks import Options
from executor.inference.overwriting import Gelu, plus, summed
from executor.inference.rotary import rotated

NORM_EPS = 1e-6
BRANCHES = 3  # numbers of a modulation for each of two branches: shift, scale, gate


class Modulated(NamedTuple):
    """What the time makes of one branch: how its input is changed, and how much of its answer counts."""

    shift: Tensor
    scale: Tensor
    gate: Tensor  # [B, R, C] each; a row is for as many tokens as there are of each

    def of(self, x: Tensor) -> Tensor:
        """A normed input [B, N, C], changed."""
        return torch.addcmul(spread(self.shift, x), x, 1 + spread(self.scale, x))

    def added(self, x: Tensor, answer: Tensor) -> Tensor:
        """x [B, N, C] with as much of the branch's answer as counts."""
        return torch.addcmul(x, spread(self.gate, x), answer)

    def added_to_own(self, x: Tensor, answer: Tensor) -> Tensor:
        """The same in the place of x."""
        return plus(x, spread(self.gate, x), answer)


def spread(rows: Tensor, tokens: Tensor) -> Tensor:
    """Rows [B, R, C] for tokens [B, N, C], each for the N / R that follow each other."""
    count = tokens.shape[1]
    return rows if rows.shape[1] in (1, count) else rows.repeat_interleave(count // rows.shape[1], dim=1)


def attended(q: Tensor, k: Tensor, v: Tensor, heads: int, options: Options) -> Tensor:
    """Attention [B, N, C] of queries to keys, all [B, heads, N, C / heads]."""
    own = options.get("optimized_attention_override")
    if callable(own):
        answer: Tensor = own(attention.attend, q, k, v, heads, skip_reshape=True, transformer_options=options)
        return answer
    return attention.attend(q, k, v, heads, skip_reshape=True, transformer_options=options)


class WanSelfAttention(nn.Module):
    """Attention of a video's tokens to each other, turned by their places."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = nn.RMSNorm(width, eps=NORM_EPS), nn.RMSNorm(width, eps=NORM_EPS)

    def by_heads(self, x: Tensor) -> Tensor:
        """Rows [B, N, C] as [B, heads, N, C / heads]."""
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, turns: Tensor, options: Options) -> Tensor:
        """x [B, N, C] to the same shape."""
        q, k = (rotated(self.by_heads(each), turns) for each in (self.norm_q(self.q(x)), self.norm_k(self.k(x))))
        return self.o(attended(q, k, self.by_heads(self.v(x)), self.num_heads, options))  # type: ignore[no-any-return]


class WanCrossAttention(WanSelfAttention):
    """Attention of a video's tokens to those of a text, and to those of a picture where it leads."""

    def __init__(self, width: int, heads: int, *, sees_picture: bool) -> None:
        super().__init__(width, heads)
        self.sees_picture = sees_picture
        if sees_picture:
            self.k_img, self.v_img = nn.Linear(width, width), nn.Linear(width, width)
            self.norm_k_img = nn.RMSNorm(width, eps=NORM_EPS)

    def forward(self, x: Tensor, context: Tensor, options: Options, pictured: int = 0) -> Tensor:
        """x [B, N, C] to the same shape; the first `pictured` of the context's tokens [B, T, C] are a picture's."""
        picture, text = context[:, :pictured], context[:, pictured:]
        q = self.by_heads(self.norm_q(self.q(x)))
        k, v = self.by_heads(self.norm_k(self.k(text))), self.by_heads(self.v(text))
        mixed = attended(q, k, v, self.num_heads, options)
        if pictured:
            k, v = self.by_heads(self.norm_k_img(self.k_img(picture))), self.by_heads(self.v_img(picture))
            mixed = mixed + attended(q, k, v, self.num_heads, options)
        return self.o(mixed)  # type: ignore[no-any-return]


class WanAttentionBlock(nn.Module):
    """Attention within the video and to the text, and a layer for each token."""

    def __init__(self, width: int, heads: int, inner: int, *, sees_picture: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = plain_norm(width), plain_norm(width)
        self.norm3 = nn.LayerNorm(width, eps=NORM_EPS)
        self.self_attn = WanSelfAttention(width, heads)
        self.cross_attn = WanCrossAttention(width, heads, sees_picture=sees_picture)
        self.ffn = nn.Sequential(nn.Linear(width, inner), Gelu(), nn.Linear(inner, width))
        self.modulation = nn.Parameter(torch.empty(1, 2 * BRANCHES, width))

    def forward(
        self,
        x: Tensor,
        e: Tensor,
        freqs: Tensor,
        context: Tensor,
        context_img_len: int = 0,
        transformer_options: Options | None = None,
    ) -> Tensor:
        """Tokens [B, N, C] at times e [B, R, 6, C] or [B, 6, C], turned by `freqs`, under context [B, T, C]."""
        options = {} if transformer_options is None else transformer_options
        rows = e[:, None] if e.ndim == 3 else e
        parts = (self.modulation.to(e)[:, None] + rows).unbind(2)
        first, second = Modulated(*parts[:BRANCHES]), Modulated(*parts[BRANCHES:])
        x = first.added(x, self.self_attn(first.of(self.norm1(x)), freqs, options))
        x = summed(x, self.cross_attn(self.norm3(x), context, options, context_img_len))
        return second.added_to_own(x, self.ffn(second.of(self.norm2(x))))


class VaceWanAttentionBlock(WanAttentionBlock):
    """A block beside the network's own, which reads what the video is to keep to (Jiang et al. 2025, arXiv:2503.07598).

    The first one joins the network's tokens to its own.
    """

    def __init__(self, width: int, heads: int, inner: int, *, sees_picture: bool, is_first: bool) -> None:
        super().__init__(width, heads, inner, sees_picture=sees_picture)
        if is_first:
            self.before_proj = nn.Linear(width, width)
        self.after_proj = nn.Linear(width, width)

    def begun(self, c: Tensor, x: Tensor) -> Tensor:
        """Its first tokens: the control's [B, N, C] and the network's."""
        return self.before_proj(c) + x  # type: ignore[no-any-return]

    def hint(self, c: Tensor) -> Tensor:
        """What the network's tokens are changed by [B, N, C]."""
        return self.after_proj(c)  # type: ignore[no-any-return]


class Head(nn.Module):
    """Tokens to the features of their cells."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm = plain_norm(width)
        self.head = nn.Linear(width, out)
        self.modulation = nn.Parameter(torch.empty(1, 2, width))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """x [B, N, C] at times e [B, R, C] or [B, C] to [B, N, out]."""
        rows = e[:, None] if e.ndim == 2 else e
        shift, scale = (self.modulation.to(e)[:, None] + rows[:, :, None]).unbind(2)
        return self.head(torch.addcmul(spread(shift, x), self.norm(x), 1 + spread(scale, x)))  # type: ignore[no-any-return]


class MLPProj(nn.Module):
    """A picture's tokens, as a vision model sees it, to the network's width."""

    def __init__(self, into: int, width: int, places: int) -> None:
        super().__init__()
        linear = nn.Linear(into, into), nn.GELU(), nn.Linear(into, width)
        self.proj = nn.Sequential(nn.LayerNorm(into), *linear, nn.LayerNorm(width))
        if places:
            self.emb_pos = nn.Parameter(torch.empty(1, places, into))
        self.places = places

    def forward(self, seen: Tensor) -> Tensor:
        """Tokens [B, T, into] to [B, T, width]; networks that know places see the two pictures' tokens in a row."""
        if self.places:
            seen = seen + self.emb_pos.to(seen)[:, : seen.shape[1]]
        return self.proj(seen)  # type: ignore[no-any-return]


def plain_norm(width: int) -> nn.LayerNorm:
    """A layer norm without weights."""
    return nn.LayerNorm(width, elementwise_affine=False, eps=NORM_EPS)
