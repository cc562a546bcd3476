"""T5 v1.1's encoder (Raffel et al. 2020, arXiv:1910.10683). Knows neither prompts nor files.

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

from executor.inference.text.clip_model import Encoded

FARTHEST = 128  # places; the bias of farther ones is the same
EPSILON = 1e-6


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


class T5Attention(nn.Module):
    """Multi-head attention of all places to all, without scaling; the first layer's holds the bias of distances."""

    def __init__(self, shape: T5Shape, *, has_bias: bool) -> None:
        super().__init__()
        self.heads = shape.heads
        self.q, self.k, self.v = (nn.Linear(shape.width, shape.inner, bias=False) for _ in range(3))
        self.o = nn.Linear(shape.inner, shape.width, bias=False)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(shape.buckets, shape.heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Mix the places of x [B, T, C]; `bias` [B or 1, heads, T, T] is added to their scores."""
        query, key, value = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for project in (self.q, self.k, self.v)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
        return self.o(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def bias(self, length: int, device: torch.device) -> Tensor:
        """What scores are raised by for each distance [1, heads, T, T]."""
        buckets = distance_buckets(length, self.relative_attention_bias.num_embeddings, device)
        found: Tensor = self.relative_attention_bias(buckets)
        return found.permute(2, 0, 1)[None].contiguous()


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

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [B, T, C] to the same shape."""
        return x + self.SelfAttention(self.layer_norm(x), bias)  # type: ignore[no-any-return]


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

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x [B, T, C] to the same shape."""
        attend, transform = self.layer
        return transform(attend(x, bias))  # type: ignore[no-any-return]


class T5Stack(nn.Module):
    """The layers and the norm at their end."""

    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self.block = nn.ModuleList(T5Block(shape, has_bias=number == 0) for number in range(shape.layers))
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
        model does not have, is the last.
        """
        first: T5Attention = self.encoder.block[0].layer[0].SelfAttention  # type: ignore[union-attr,index]
        bias = first.bias(vectors.shape[1], vectors.device).to(vectors)
        if seen is not None:
            bias = bias.masked_fill(~seen[:, None, None, :], torch.finfo(bias.dtype).min)
        stop = len(self.encoder.block) + 1 + layer if layer is not None and layer < 0 else 0
        x = vectors
        for number, transform in enumerate(self.encoder.block, start=1):
            x = transform(x, bias)
            if number == stop:
                break
        hidden: Tensor = self.encoder.final_layer_norm(x)
        return Encoded(hidden, None)


def distance_buckets(length: int, buckets: int, device: torch.device) -> Tensor:
    """The number of the bucket [T, T] for the way from each place to each other one.

    Half of the buckets are for ways forward; of each half, half are for single distances, the rest grow with the
    logarithm of the distance.
    """
    places = torch.arange(length, device=device)
    way = places[None, :] - places[:, None]  # [T, T]
    half = buckets // 2
    single = half // 2
    distance = way.abs()
    grown = torch.log(distance.float().clamp(min=1) / single) / math.log(FARTHEST / single) * (half - single)
    far = (single + grown.long()).clamp(max=half - 1)
    return torch.where(distance < single, distance, far) + (way > 0) * half
