"""Layers of the transformer of Stable Diffusion 3 (Esser et al. 2024, arXiv:2403.03206), named as in its files.

Know no order of blocks and no patch points but the attention's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from executor.inference import attention
from executor.inference.hooks import Options
from executor.inference.overwriting import gelu, plus

EPSILON = 1e-6
Triple = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSizes:
    """Sizes of a joint block."""

    width: int
    heads: int
    inner: int
    normed: bool
    dual: bool
    last: bool


def plain_norm(width: int) -> nn.LayerNorm:
    """A norm whose scale and shift come from elsewhere."""
    return nn.LayerNorm(width, elementwise_affine=False, eps=EPSILON)


def modulation(width: int, count: int) -> nn.Sequential:
    """What makes `count` scales, shifts and gates of the time and the pooled text."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, count * width))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Tokens x [B, N, C] scaled and shifted by [B, C]."""
    return torch.addcmul(shift[:, None], x, 1 + scale[:, None])


class VectorEmbedder(nn.Module):
    """Two linear layers around a SiLU."""

    def __init__(self, into: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(into, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, into] to [B, width]."""
        return self.mlp(x)  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """A wider layer and back."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., C] to the same shape."""
        return self.fc2(gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Projections(nn.Module):
    """Queries, keys and values of tokens by one product, and what leads back after attention."""

    def __init__(self, sizes: BlockSizes, *, leads_back: bool = True) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width)
        if leads_back:
            self.proj = nn.Linear(sizes.width, sizes.width)
        if sizes.normed:
            self.ln_q = nn.RMSNorm(sizes.width // sizes.heads, eps=EPSILON)
            self.ln_k = nn.RMSNorm(sizes.width // sizes.heads, eps=EPSILON)
        self.normed = sizes.normed

    def forward(self, x: Tensor) -> Triple:
        """Tokens x [B, N, C] to three of that shape."""
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        if self.normed:
            query, key = self.ln_q(self.by_head(query)).flatten(2), self.ln_k(self.by_head(key)).flatten(2)
        return query, key, value

    def by_head(self, x: Tensor) -> Tensor:
        """x [B, N, C] as [B, N, heads, C / heads]."""
        return x.reshape(*x.shape[:2], self.heads, -1)


class HalfBlock(nn.Module):
    """One side of a joint block, the picture's or the text's.

    Of the last block's text only keys and values are of use: it has no layers that lead back.
    """

    def __init__(self, sizes: BlockSizes, *, leads_back: bool = True, dual: bool = False) -> None:
        super().__init__()
        self.leads_back, self.dual = leads_back, dual
        self.norm1 = plain_norm(sizes.width)
        self.attn = Projections(sizes, leads_back=leads_back)
        if dual:
            self.attn2 = Projections(sizes)
        if leads_back:
            self.norm2 = plain_norm(sizes.width)
            self.mlp = Mlp(sizes.width, sizes.inner)
        self.parts = (9 if dual else 6) if leads_back else 2
        self.adaLN_modulation = modulation(sizes.width, self.parts)

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        """Tokens x [B, N, C] that attend to each other only, after it; `vec` [B, C] leads."""
        numbers = self.numbers(vec)
        return self.joined(x, attended(self.projected(x, numbers), self.attn.heads, {}), numbers)

    def numbers(self, vec: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate [B, C] of the attention, the feed-forward and the second attention."""
        return tuple(self.adaLN_modulation(vec).chunk(self.parts, dim=-1))

    def projected(self, x: Tensor, numbers: tuple[Tensor, ...]) -> Triple:
        """Queries, keys and values of tokens x [B, N, C]."""
        return self.attn(modulated(self.norm1(x), *numbers[:2]))  # type: ignore[no-any-return]

    def alone(self, x: Tensor, numbers: tuple[Tensor, ...], options: Options) -> Tensor:
        """What tokens x [B, N, C] give when they attend to each other only."""
        shift, scale, gate = numbers[6:]
        mixed = attended(self.attn2(modulated(self.norm1(x), shift, scale)), self.attn2.heads, options)
        return gate[:, None] * self.attn2.proj(mixed)  # type: ignore[no-any-return]

    def joined(self, x: Tensor, mixed: Tensor, numbers: tuple[Tensor, ...], second: Tensor | None = None) -> Tensor:
        """Tokens x [B, N, C] with what attention gave (and a second one), then with the feed-forward's answer."""
        _, _, gate, shift, scale, last_gate = numbers[:6]
        x = torch.addcmul(x, gate[:, None], self.attn.proj(mixed))
        if second is not None:
            x = x + second
        return plus(x, last_gate[:, None], self.mlp(modulated(self.norm2(x), shift, scale)))


class JointBlock(nn.Module):
    """Picture and text attend to each other and go on by layers of their own."""

    def __init__(self, sizes: BlockSizes) -> None:
        super().__init__()
        self.context_block = HalfBlock(sizes, leads_back=not sizes.last)
        self.x_block = HalfBlock(sizes, dual=sizes.dual)

    def forward(
        self,
        img: Tensor,
        txt: Tensor,
        vec: Tensor,
        pe: None = None,
        attn_mask: Tensor | None = None,
        transformer_options: Options | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Picture tokens [B, N, C], text tokens [B, T, C] and vector [B, C] to both; the last one leaves the text.

        `attn_mask` is of text and picture in this order, [T + N, T + N] or [B, T + N, T + N]; places are in the tokens.
        """
        options = transformer_options or {}
        of_text, of_picture = self.context_block.numbers(vec), self.x_block.numbers(vec)
        mixed = attended(self.projected(txt, img, of_text, of_picture), self.x_block.attn.heads, options, attn_mask)
        length = txt.shape[1]
        second = self.x_block.alone(img, of_picture, options) if self.x_block.dual else None
        img = self.x_block.joined(img, mixed[:, length:], of_picture, second)
        if self.context_block.leads_back:
            txt = self.context_block.joined(txt, mixed[:, :length], of_text)
        return img, txt

    def projected(
        self, txt: Tensor, img: Tensor, of_text: tuple[Tensor, ...], of_picture: tuple[Tensor, ...]
    ) -> Triple:
        """Queries, keys and values [B, T + N, C] of both."""
        pairs = zip(self.context_block.projected(txt, of_text), self.x_block.projected(img, of_picture), strict=True)
        query, key, value = (torch.cat(pair, dim=1) for pair in pairs)
        return query, key, value


class FinalLayer(nn.Module):
    """Tokens to the cells that each stands for."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.norm_final = plain_norm(width)
        self.linear = nn.Linear(width, out)
        self.adaLN_modulation = modulation(width, 2)

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        """Tokens [B, N, C] and vector [B, C] to [B, N, out]."""
        shift, scale = self.adaLN_modulation(vec).chunk(2, dim=-1)
        return self.linear(modulated(self.norm_final(x), shift, scale))  # type: ignore[no-any-return]


def attended(qkv: Triple, heads: int, options: Options, mask: Tensor | None = None) -> Tensor:
    """Attention of queries [B, N, C] to keys and values, by Weft's function or a pack's."""
    own = options.get("optimized_attention_override")
    attend = attention.attend if mask is None else attention.attend_masked
    query, key, value = qkv
    if callable(own):
        answer: Tensor = own(attend, query, key, value, heads, mask=mask, transformer_options=options)
        return answer
    return attend(query, key, value, heads, mask=mask)
