"""The CLIP text model with its original key names, over the rows of the grammar's words only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from training.grammar import all_words
from training.tokens import BOS, EOS, LENGTH, ROWS, caption_ids, word_ids

UNKNOWN = 0


def used_rows() -> list[int]:
    """Rows of the token table that the grammar uses, sorted; place 0 stands for every other row."""
    return [-1, *sorted({BOS, EOS, *(row for word in all_words() for row in word_ids(word))})]


def compact_table() -> Tensor:
    """Place among the used rows of every row of the full table, (49408,), 0 where unused."""
    table = torch.zeros(ROWS, dtype=torch.long)
    for place, row in enumerate(used_rows()):
        if place:
            table[row] = place
    return table


def compact_ids(captions: list[str], table: Tensor) -> Tensor:
    """Places (B, 77) of the captions' tokens among the used rows."""
    return table[torch.tensor([caption_ids(caption) for caption in captions])]


class SelfAttention(nn.Module):
    """Causal multi-head attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers around the quick GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, width * 4), nn.Linear(width * 4, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        return self.fc2(hidden * torch.sigmoid(1.702 * hidden))


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn, self.mlp = SelfAttention(width, heads), Mlp(width)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    """Token and position rows; the row of unknown words stays zero."""

    def __init__(self, width: int, rows: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(rows, width, padding_idx=UNKNOWN)
        self.position_embedding = nn.Embedding(LENGTH, width)
        nn.init.normal_(self.token_embedding.weight, std=0.5)
        nn.init.normal_(self.position_embedding.weight, std=0.1)
        with torch.no_grad():
            self.token_embedding.weight[UNKNOWN] = 0

    def forward(self, places: Tensor) -> Tensor:
        return self.token_embedding(places) + self.position_embedding.weight


class Encoder(nn.Module):
    """The layers, under their original name."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))


class TextModel(nn.Module):
    """Contexts (B, 77, C) of captions given as places among the used rows (B, 77)."""

    def __init__(self, width: int = 32, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.embeddings = Embeddings(width, len(used_rows()))
        self.encoder = Encoder(width, layers, heads)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, places: Tensor) -> Tensor:
        x = self.embeddings(places)
        for layer in self.encoder.layers:
            x = layer(x)
        return self.final_layer_norm(x)
