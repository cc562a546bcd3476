"""Weighted chunks to one embedding, for any encoder of chunks. Knows neither vocabulary nor layers.

A place of weight w is moved from where the empty prompt's embedding stands at that place to w times the way to its
own (recorded behaviour: numeric/weights.json).
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from executor.inference.text.clip_model import Encoded
from executor.inference.text.tokens import Chunk, Token

EncodeChunks: TypeAlias = Callable[[Sequence[Sequence[Token]]], Encoded]


def encode_weighted(chunks: Sequence[Chunk], empty: Chunk, encode: EncodeChunks) -> Encoded:
    """Embedding [1, T * chunks, C] of all chunks on end, and the pooled vector [1, C] of the first if there is one.

    `empty` is the empty prompt's chunk, as long as the others.
    """
    rows = [[place.token for place in chunk] for chunk in chunks]
    weights = torch.tensor([[place.weight for place in chunk] for chunk in chunks])  # [chunks, T]
    weighted = bool((weights != 1.0).any())
    hidden, pooled = encode([*rows, [place.token for place in empty]] if weighted else rows)
    if weighted:
        origin, hidden = hidden[-1:], hidden[:-1]
        weights = weights.to(hidden)[:, :, None]
        hidden = torch.where(weights == 1.0, hidden, origin + (hidden - origin) * weights)
    return Encoded(hidden.flatten(0, 1)[None], None if pooled is None else pooled[:1])
