"""The encoders of T5 v1.1 and UMT5. Know neither prompts nor files.

Raffel et al. 2020 (arXiv:1910.10683), Chung et al. 2023 (arXiv:2304.09151).

Module names are those of the weights in files. It is our own and not transformers' T5EncoderModel because weights here
may be of 8 bits and cast where they are used: that one rounds its activations to the type of such a weight, has a norm
that no cast is known for, and takes seconds to import.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.inference.interruption import stop_if_asked
from executor.inference.text.clip_model import Encoded

FARTHEST = 128  # places; the bias of farther ones is the same
EPSILON = 1e-6
ROWS = 512
"""Places whose scores are made at once: of a long text those of all would take gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class T5Shape:
    """Sizes of a T5 encoder; the defaults are those of T5 v1.1 XXL."""

    width: int = 4096
    layers: int = 24
    heads: int = 64
    inner: int = 4096  # all heads side by side
    intermediate: int = 10240
    vocabulary: int = 32128
    buckets: int = 32  # of distances between places
    each_biased: bool = False  # whether every layer has a bias of distances of its own (UMT5)


class Raised:
    """What the scores of places for each other are raised by: a bias by distance, and to unseen places nothing gets."""

    def __init__(self, by_way: Tensor, seen: Tensor | None) -> None:
        """`by_way` [heads, 2 T - 1] from the farthest way back to the farthest forward, `seen` [B, T]."""
        self.length = (by_way.shape[1] + 1) // 2
        self.windows = by_way.unfold(1, self.length, 1)  # [heads, T, T], the last place's row first
        self.seen = seen
        self.spans = [(start, min(start + ROWS, self.length)) for start in range(0, self.length, ROWS)]
        self.whole = self._rows(0, self.length) if len(self.spans) == 1 else None  # the same for all layers

    def rows(self, start: int, stop: int) -> Tensor:
        """For the places of a span, from `start` to before `stop` [B or 1, heads, stop - start, T]."""
        return self._rows(start, stop) if self.whole is None else self.whole

    def _rows(self, start: int, stop: int) -> Tensor:
        made = self.windows[None, :, self.length - stop : self.length - start].flip(2)
        if self.seen is None:
            return made
        return made.masked_fill(~self.seen[:, None, None, :], torch.finfo(made.dtype).min)


class T5Attention(nn.Module):
    """Multi-head attention of all places to all, without scaling; the first layer's holds the bias of distances."""

    def __init__(self, shape: T5Shape, *, has_bias: bool) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q, self.k, self.v = (nn.Linear(shape.width, shape.inner, bias=False) for _ in range(3))
        self.o = nn.Linear(shape.inner, shape.width, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(shape.buckets, shape.heads)

    def forward(self, x: Tensor, raised: Raised) -> Tensor:
        """Mix the places of x [B, T, C]."""
        query, key, value = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for project in (self.q, self.k, self.v)
        )
        mixed = [
            functional.scaled_dot_product_attention(
                query[:, :, start:stop], key, value, attn_mask=raised.rows(start, stop), scale=1.0
            )
            for start, stop in raised.spans
        ]
        return self.o(torch.cat(mixed, dim=2).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def bias(self, length: int, device: torch.device) -> Tensor:
        """The bias of every way between places of a text of a length [heads, 2 T - 1]."""
        ways = torch.arange(1 - length, length, device=device)
        found: Tensor = self.relative_attention_bias(
            distance_buckets(ways, self.relative_attention_bias.num_embeddings)
        )
        return found.T.contiguous()


class T5GatedMlp(nn.Module):
    """Two linear layers side by side, one of which gates the other, and one behind (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self.wi_0, self.wi_1 = (nn.Linear(shape.width, shape.intermediate, bias=False) for _ in range(2))
        self.wo = nn.Linear(shape.intermediate, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, C] to the same shape."""
        return self.wo(functional.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))  # type: ignore[no-any-return]


class T5AttentionLayer(nn.Module):
    """Attention behind a norm, beside what goes past it."""

    def __init__(self, shape: T5Shape, *, has_bias: bool) -> None:
        super().__init__()
        self.SelfAttention = T5Attention(shape, has_bias=has_bias)
        self.layer_norm = nn.RMSNorm(shape.width, eps=EPSILON)

    def forward(self, x: Tensor, raised: Raised) -> Tensor:
        """x [B, T, C] to the same shape."""
        return x + self.SelfAttention(self.layer_norm(x), raised)  # type: ignore[no-any-return]


class T5MlpLayer(nn.Module):
    """The gated layers behind a norm, beside what goes past them."""

    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self.DenseReluDense = T5GatedMlp(shape)
        self.layer_norm = nn.RMSNorm(shape.width, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, C] to the same shape."""
        return x + self.DenseReluDense(self.layer_norm(x))  # type: ignore[no-any-return]


class T5Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, shape: T5Shape, *, has_bias: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([T5AttentionLayer(shape, has_bias=has_bias), T5MlpLayer(shape)])

    def forward(self, x: Tensor, raised: Raised) -> Tensor:
        """x [B, T, C] to the same shape."""
        attend, transform = self.layer
        return transform(attend(x, raised))  # type: ignore[no-any-return]


class T5Stack(nn.Module):
    """The layers and the norm at their end."""

    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            T5Block(shape, has_bias=number == 0 or shape.each_biased) for number in range(shape.layers)
        )
        self.final_layer_norm = nn.RMSNorm(shape.width, eps=EPSILON)


class T5TextModel(nn.Module):
    """Token vectors to hidden states; there is no pooled vector."""

    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self.shape = shape
        self.shared = nn.Embedding(shape.vocabulary, shape.width)
        self.encoder = T5Stack(shape)

    def forward(self, vectors: Tensor, *, seen: Tensor | None = None, layer: int | None = None) -> Encoded:
        """Encode token vectors [B, T, C]; places that are not `seen` [B, T] are attended to by none.

        `layer` -1 is the last hidden state, -2 the one before, put through the final norm; None, or a layer that the
        model does not have, is the last. Raises Interrupted between layers when the user stopped the prompt.
        """
        raised = self.raised(0, vectors, seen)
        stop = len(self.encoder.block) + 1 + layer if layer is not None and layer < 0 else 0
        x = vectors
        for number, transform in enumerate(self.encoder.block, start=1):
            stop_if_asked()
            if self.shape.each_biased and number > 1:
                raised = self.raised(number - 1, vectors, seen)
            x = transform(x, raised)
            if number == stop:
                break
        hidden: Tensor = self.encoder.final_layer_norm(x)
        return Encoded(hidden, None)

    def raised(self, number: int, vectors: Tensor, seen: Tensor | None) -> Raised:
        """What the scores of token vectors [B, T, C] are raised by in a layer that has a bias of distances."""
        attention: T5Attention = self.encoder.block[number].layer[0].SelfAttention  # type: ignore[union-attr,index]
        return Raised(attention.bias(vectors.shape[1], vectors.device).to(vectors), seen)


def distance_buckets(way: Tensor, buckets: int) -> Tensor:
    """The number of the bucket for each of many ways from a place to another, those back being negative.

    Half of the buckets are for ways forward; of each half, half are for single distances, the rest grow with the
    logarithm of the distance.
    """
    half = buckets // 2
    single = half // 2
    distance = way.abs()
    grown = torch.log(distance.float().clamp(min=1) / single) / math.log(FARTHEST / single) * (half - single)
    far = (single + grown.long()).clamp(max=half - 1)
    return torch.where(distance < single, distance, far) + (way > 0) * half
