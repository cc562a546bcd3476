"""CLIP's text transformer (Radford et al. 2021, arXiv:2103.00020). Knows neither prompts nor files.

Module names are those of the weights in SD1.x files, below `text_model.`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation: TypeAlias = Literal["quick_gelu", "gelu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipShape:
    """Sizes of a CLIP text model."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    vocabulary: int = 49408
    positions: int = 77
    activation: Activation = "quick_gelu"
    projection: int | None = None  # width of the pooled vector's projection, where the file has one


class Encoded(NamedTuple):
    """Hidden states of one layer [B, T, C] and the pooled vector [B, C], of encoders that have one."""

    hidden: Tensor
    pooled: Tensor | None


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x), OpenAI's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"quick_gelu": quick_gelu, "gelu": functional.gelu}


class ClipAttention(nn.Module):
    """Multi-head self-attention, of each place to those before it if causal."""

    def __init__(self, width: int, heads: int, *, causal: bool = True) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix each place of x [B, T, C] with others."""
        query, key, value = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class ClipMlp(nn.Module):
    """Two linear layers around an activation."""

    def __init__(self, width: int, inner: int, activation: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, C] to the same shape."""
        return self.fc2(self.activation(self.fc1(x)))  # type: ignore[no-any-return]


class TransformerLayer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, inner: int, activation: Activation, *, causal: bool) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn = ClipAttention(width, heads, causal=causal)
        self.mlp = ClipMlp(width, inner, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, C] to the same shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))  # type: ignore[no-any-return]


class ClipLayer(TransformerLayer):
    """A layer of the text model."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__(shape.width, shape.heads, shape.intermediate, shape.activation, causal=True)


class VisionLayer(TransformerLayer):
    """A layer of the picture model, whose places all see each other."""

    def __init__(self, width: int, heads: int, inner: int, activation: Activation) -> None:
        super().__init__(width, heads, inner, activation, causal=False)


class ClipEmbeddings(nn.Module):
    """Tables of token and place vectors."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.position_embedding = nn.Embedding(shape.positions, shape.width)


class ClipEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ClipLayer(shape) for _ in range(shape.layers))


class ClipTextModel(nn.Module):
    """Token vectors to hidden states and a pooled vector."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = ClipEmbeddings(shape)
        self.encoder = ClipEncoder(shape)
        self.final_layer_norm = nn.LayerNorm(shape.width)
        if shape.projection:
            self.text_projection = nn.Linear(shape.width, shape.projection, bias=False)

    def forward(
        self,
        vectors: Tensor,
        ends: Tensor,
        *,
        layer: int | None = None,
        normed: bool = True,
        projected: bool = True,
    ) -> Encoded:
        """Encode token vectors [B, T, C]; `ends` [B] are the places that the pooled vectors are taken from.

        `layer` -1 is the last hidden state, -2 the one before, put through the final norm if `normed`; None, or a
        layer that the model does not have, is the last with the final norm. The pooled vectors are `projected` where
        the model has a projection.
        """
        places = torch.arange(vectors.shape[1], device=vectors.device)
        x = vectors + self.embeddings.position_embedding(places).to(vectors)
        hidden = []
        for transform in self.encoder.layers:
            x = transform(x)
            hidden.append(x)
        last = self.final_layer_norm(x)
        chosen = last
        if layer is not None and -len(hidden) <= layer < 0:
            chosen = self.final_layer_norm(hidden[layer]) if normed else hidden[layer]
        pooled = last[torch.arange(len(ends), device=last.device), ends]
        return Encoded(chosen, self.text_projection(pooled) if self.shape.projection and projected else pooled)
