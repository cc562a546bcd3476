"""Layers of Flux.1 (Black Forest Labs 2024), named as in its files. Know no order of blocks.

A block sees the tokens of text and picture together; those of the double kind have weights of their own for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.inference import attention
from executor.inference.hooks import Options
from executor.inference.overwriting import Gelu, gelu, plus
from executor.inference.rotary import rotated, rotations

NORM_EPS = 1e-6
LARGEST_HALF = 65504.0


class RMSNorm(nn.Module):
    """Rows at root mean square 1, then scaled, in the type and where the rows are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] to the same shape."""
        return functional.rms_norm(x, self.scale.shape, self.scale.to(x), NORM_EPS)


class EmbedND(nn.Module):
    """Turns of tokens by their places."""

    def __init__(self, dim: int, theta: int, axes_dim: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.theta, self.axes_dim = dim, theta, list(axes_dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Turns [B, 1, N, dim / 2, 2, 2] of places [B, N, axes]."""
        return rotations(ids, self.axes_dim)


class QKNorm(nn.Module):
    """Norms of queries and keys."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query_norm, self.key_norm = RMSNorm(width), RMSNorm(width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Queries and keys [B, heads, N, C]; values, which packs hand in too, change nothing."""
        return self.query_norm(q), self.key_norm(k)


class MLPEmbedder(nn.Module):
    """A vector to one of the network's width."""

    def __init__(self, into: int, width: int) -> None:
        super().__init__()
        self.in_layer, self.silu, self.out_layer = nn.Linear(into, width), nn.SiLU(), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, into] to [B, width]."""
        return self.out_layer(self.silu(self.in_layer(x)))  # type: ignore[no-any-return]


class Modulated(NamedTuple):
    """What time, text and guidance make of one branch: how its input is changed, and how much of its answer counts."""

    shift: Tensor
    scale: Tensor
    gate: Tensor  # [B, 1, C] each

    def of(self, x: Tensor) -> Tensor:
        """A normed input [B, N, C], changed."""
        return torch.addcmul(self.shift, x, 1 + self.scale)


class Modulation(nn.Module):
    """Makes what one or two branches are changed by."""

    def __init__(self, width: int, *, double: bool) -> None:
        super().__init__()
        self.is_double = double
        self.lin = nn.Linear(width, (6 if double else 3) * width)

    def forward(self, vec: Tensor) -> tuple[Modulated, Modulated | None]:
        """Of a vector [B, C], for each branch; None where there is no second one."""
        parts = self.lin(functional.silu(vec))[:, None].chunk(6 if self.is_double else 3, dim=-1)
        return Modulated(*parts[:3]), Modulated(*parts[3:]) if self.is_double else None


class SelfAttention(nn.Module):
    """The weights of one kind of tokens in the attention of all."""

    def __init__(self, width: int, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, width * 3, bias=bias)
        self.norm = QKNorm(width // heads)
        self.proj = nn.Linear(width, width)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, N, heads, C / heads] of tokens [B, N, C]."""
        return by_heads(self.qkv(x), self.num_heads, self.norm)


def by_heads(joined: Tensor, heads: int, norm: QKNorm) -> tuple[Tensor, Tensor, Tensor]:
    """Normed queries and keys, and values, [B, N, heads, C / heads], of three side by side, [B, N, 3 C].

    A token's heads stay side by side, as layers leave them and take them back: else each norm would lay them out anew.
    """
    query, key, values = joined.reshape(*joined.shape[:-1], 3, heads, -1).unbind(2)
    return *norm(query, key), values


def heads_first(x: Tensor) -> Tensor:
    """A view [B, heads, N, C] of [B, N, heads, C]."""
    return x.transpose(1, 2)


def mixed(q: Tensor, k: Tensor, v: Tensor, turns: Tensor, mask: Tensor | None, options: Options, heads: int) -> Tensor:
    """Attention [B, N, C] of turned queries to turned keys, all [B, heads, N, C / heads]."""
    return attended(rotated(q, turns), rotated(k, turns), v, mask, options, heads)


def attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, options: Options, heads: int) -> Tensor:
    """Attention [B, N, C] of queries to keys, all [B, heads, N, C / heads], by Weft's function or a pack's."""
    attend = attention.attend if mask is None else attention.attend_masked
    own = options.get("optimized_attention_override")
    if callable(own):
        answer: Tensor = own(attend, q, k, v, heads, mask=mask, skip_reshape=True, transformer_options=options)
        return answer
    return attend(q, k, v, heads, mask=mask, skip_reshape=True, transformer_options=options)


def mlp(width: int, inner: int) -> nn.Sequential:
    """Two linear layers around a GELU."""
    return nn.Sequential(nn.Linear(width, inner), Gelu(), nn.Linear(inner, width))


def bounded(x: Tensor) -> Tensor:
    """Numbers that float16 holds; of larger ones its largest."""
    return x.clamp(-LARGEST_HALF, LARGEST_HALF) if x.dtype == torch.float16 else x


class DoubleStreamBlock(nn.Module):
    """Attention of all tokens and a layer for each, with weights for the picture's and the text's."""

    def __init__(self, width: int, heads: int, inner: int, *, bias: bool) -> None:
        super().__init__()
        self.num_heads = heads
        self.img_mod, self.txt_mod = Modulation(width, double=True), Modulation(width, double=True)
        self.img_norm1, self.img_norm2 = plain_norm(width), plain_norm(width)
        self.img_attn, self.txt_attn = (SelfAttention(width, heads, bias=bias) for _ in range(2))
        self.txt_norm1, self.txt_norm2 = plain_norm(width), plain_norm(width)
        self.img_mlp, self.txt_mlp = mlp(width, inner), mlp(width, inner)

    def forward(
        self,
        img: Tensor,
        txt: Tensor,
        vec: Tensor,
        pe: Tensor,
        attn_mask: Tensor | None = None,
        transformer_options: Options | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens of the picture [B, N, C] and of the text [B, T, C] under a vector [B, C] to the same shapes."""
        img_first, img_second = self.img_mod(vec)
        txt_first, txt_second = self.txt_mod(vec)
        assert img_second is not None  # both have two branches
        assert txt_second is not None
        q, k, v = self.projected(txt_first.of(self.txt_norm1(txt)), img_first.of(self.img_norm1(img)), pe)
        both = attended(q, k, v, attn_mask, transformer_options or {}, self.num_heads)
        del q, k, v  # the layers behind need their room
        txt_mixed, img_mixed = both[:, : txt.shape[1]], both[:, txt.shape[1] :]
        img = torch.addcmul(img, img_first.gate, self.img_attn.proj(img_mixed))
        img = plus(img, img_second.gate, self.img_mlp(img_second.of(self.img_norm2(img))))
        txt = torch.addcmul(txt, txt_first.gate, self.txt_attn.proj(txt_mixed))
        txt = plus(txt, txt_second.gate, self.txt_mlp(txt_second.of(self.txt_norm2(txt))))
        return img, bounded(txt)

    def projected(self, txt: Tensor, img: Tensor, turns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turned queries and keys, and values, [B, heads, T + N, C / heads], of tokens [B, T, C] and [B, N, C]."""
        pairs = zip(self.txt_attn.projected(txt), self.img_attn.projected(img), strict=True)
        q, k, v = (heads_first(torch.cat(pair, dim=1)) for pair in pairs)
        return rotated(q, turns), rotated(k, turns), v


class SingleStreamBlock(nn.Module):
    """Attention of all tokens and a layer for each side by side, by two products."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.num_heads, self.hidden_size, self.mlp_hidden_dim = heads, width, inner
        self.linear1, self.linear2 = nn.Linear(width, width * 3 + inner), nn.Linear(width + inner, width)
        self.norm = QKNorm(width // heads)
        self.pre_norm = plain_norm(width)
        self.mlp_act = nn.GELU(approximate="tanh")
        self.modulation = Modulation(width, double=False)

    def forward(
        self,
        x: Tensor,
        vec: Tensor,
        pe: Tensor,
        attn_mask: Tensor | None = None,
        transformer_options: Options | None = None,
    ) -> Tensor:
        """Tokens [B, T + N, C] under a vector [B, C] to the same shape."""
        modulated, _ = self.modulation(vec)
        joined = self.linear1(modulated.of(self.pre_norm(x)))
        options = transformer_options or {}
        q, k, v = self.projected(joined, pe)
        answer = attended(q, k, v, attn_mask, options, self.num_heads)
        del q, k, v  # the layer behind needs their room
        output = self.linear2(self.beside(answer, joined, options).flatten(0, 1)).unflatten(0, x.shape[:2])
        return bounded(torch.addcmul(x, modulated.gate, output))

    def projected(self, joined: Tensor, turns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turned queries and keys, and values, [B, heads, N, C / heads], at the start of [B, N, 3 C + inner]."""
        q, k, v = map(heads_first, by_heads(joined[..., : 3 * self.hidden_size], self.num_heads, self.norm))
        return rotated(q, turns), rotated(k, turns), v

    def beside(self, answer: Tensor, joined: Tensor, options: Options) -> Tensor:
        """The attention's answer [B, N, C] beside the activated numbers at the end of [B, N, 3 C + inner].

        It is put where the values were, which nobody needs any more, so that nothing is copied but the answer.
        """
        inner = joined[..., 3 * self.hidden_size :]
        if joined.requires_grad or answer.requires_grad or not attention.is_own(options):  # packs may keep values
            return torch.cat((answer, self.mlp_act(inner)), dim=2)
        gelu(inner)
        both = joined[..., 2 * self.hidden_size :]
        both[..., : self.hidden_size] = answer
        return both


class LastLayer(nn.Module):
    """Tokens to the features of their cells."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm_final = plain_norm(width)
        self.linear = nn.Linear(width, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        """x [B, N, C] under a vector [B, C] to [B, N, out]."""
        shift, scale = self.adaLN_modulation(vec)[:, None].chunk(2, dim=-1)
        return self.linear(torch.addcmul(shift, self.norm_final(x), 1 + scale))  # type: ignore[no-any-return]


def plain_norm(width: int) -> nn.LayerNorm:
    """A layer norm without weights."""
    return nn.LayerNorm(width, elementwise_affine=False, eps=NORM_EPS)
