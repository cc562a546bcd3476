"""The CLIP that nodes hand around: tokenizer, text model and clip skip together. Knows no diffusion model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from executor.inference.memory import Memory, Part
from executor.inference.text.clip_model import ClipTextModel, Encoded
from executor.inference.text.encoding import encode_weighted
from executor.inference.text.tokens import Chunk, ChunkTokenizer, Token
from executor.inference.values import Conditioning

Tokens: TypeAlias = dict[str, list[Chunk]]  # encoder's name ("l") → chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One CLIP text encoder and how it is used."""

    part: Part[ClipTextModel]
    tokenizer: ChunkTokenizer
    memory: Memory
    layer: int | None = None  # clip skip: -1 the last layer, -2 the one before …; None: the family's own
    normed: bool = True  # whether the final norm goes over a chosen hidden layer

    def clone(self) -> "Clip":
        """The same encoder to be changed apart; weights are shared."""
        return replace(self)

    def clip_layer(self, layer: int) -> "Clip":
        """This encoder stopped at a layer: -1 the last, -2 the one before and so on."""
        return replace(self, layer=layer)

    def tokenize(self, text: str) -> Tokens:
        """The weighted tokens of a prompt, in chunks of 77."""
        return {"l": self.tokenizer.tokenize(text)}

    def encode(self, text: str) -> Conditioning:
        """Conditioning of a prompt."""
        return self.encode_tokens(self.tokenize(text))

    def encode_tokens(self, tokens: Tokens) -> Conditioning:
        """Conditioning of tokens: [[embedding [1, 77 * chunks, C], {"pooled_output": [1, C]}]], on the CPU."""
        self.memory.load(self.part)
        empty = self.tokenizer.tokenize("")[0]
        with torch.no_grad():
            hidden, pooled = encode_weighted(tokens["l"], empty, self.encode_chunks)
        return [[hidden.float().cpu(), {"pooled_output": pooled.float().cpu()}]]

    def encode_chunks(self, rows: Sequence[Sequence[Token]]) -> Encoded:
        """Hidden states [rows, T, C] and pooled vectors [rows, C] of token rows, computed in float32."""
        model = self.part.module
        vectors = torch.stack([self.vectors(row) for row in rows])
        ends = torch.tensor([self.end_of(row) for row in rows], device=vectors.device)
        encoded: Encoded = model(vectors, ends, layer=self.layer, normed=self.normed)
        return encoded

    def vectors(self, row: Sequence[Token]) -> Tensor:
        """Float32 token vectors [T, C] of one row: table rows, and embeddings as they are."""
        device = self.part.device
        ids = torch.tensor([token if isinstance(token, int) else self.tokenizer.pad for token in row], device=device)
        found: Tensor = self.part.module.embeddings.token_embedding(ids)
        vectors = found.to(torch.float32, copy=True)
        for place, token in enumerate(row):
            if isinstance(token, Tensor):
                vectors[place] = token.to(vectors)
        return vectors

    def end_of(self, row: Sequence[Token]) -> int:
        """The place of the first end token, or the last place when an embedding pushed it out."""
        ends = (place for place, token in enumerate(row) if isinstance(token, int) and token == self.tokenizer.end)
        return next(ends, len(row) - 1)
