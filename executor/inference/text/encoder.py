"""One text model with its vocabulary, and how a family uses it: which layer, which padding. Knows no other encoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from executor.inference.memory import Part
from executor.inference.text.bpe import END
from executor.inference.text.clip_model import Activation, ClipTextModel, Encoded
from executor.inference.text.embeddings import Embeddings
from executor.inference.text.encoding import encode_weighted
from executor.inference.text.tokens import Chunk, ChunkTokenizer, Token, Weighted

logger = logging.getLogger("weft.inference")
PROJECTION = "text_projection."


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderKind:
    """How a family of diffusion models uses a text encoder (reference/model_layer.md, hidden states and pads)."""

    name: str  # "l", "g" or "h", as packs name its tokens and weights
    activation: Activation = "gelu"
    layer: int | None = None  # counted from the end; None: the last, with the final norm
    normed: bool = True  # whether the final norm goes over a chosen hidden layer
    pad: int = 0


CLIP_L = EncoderKind(name="l", activation="quick_gelu", pad=END)
"""SD1.x."""
CLIP_L_RAW = EncoderKind(name="l", activation="quick_gelu", layer=-2, normed=False, pad=END)
"""SDXL's first."""
CLIP_G = EncoderKind(name="g", layer=-2, normed=False)
"""SDXL's second, and the refiner's."""
CLIP_H = EncoderKind(name="h", layer=-2)
"""SD2.x."""


class Encoder:
    """A text model, its tokenizer and its kind; shared by clones of a CLIP."""

    def __init__(self, *, kind: EncoderKind, part: Part[ClipTextModel], embedding_folders: Sequence[Path] = ()) -> None:
        self.kind, self.part = kind, part
        embeddings = Embeddings(folders=embedding_folders, key=f"clip_{kind.name}")
        self.tokenizer = ChunkTokenizer(embeddings=embeddings, pad=kind.pad)

    @property
    def name(self) -> str:
        """What its tokens are called."""
        return self.kind.name

    # ---------------------------------------------------------------- names of weights

    def weight_name(self, key: str) -> str:
        """The name by which packs know a weight of the module."""
        wrapper = "" if key.startswith(PROJECTION) else "text_model."
        return f"clip_{self.name}.transformer.{wrapper}{key}"

    def key_of(self, name: str) -> str | None:
        """The module's name of a weight that packs name; None when it has none."""
        key = name.removeprefix(f"clip_{self.name}.transformer.").removeprefix("text_model.")
        return key if key in self.part.weights and self.weight_name(key) == name else None

    # ---------------------------------------------------------------- text

    def empty(self) -> Chunk:
        """The chunk of the empty prompt."""
        return self.tokenizer.tokenize("")[0]

    @torch.no_grad()
    def encode(self, chunks: Sequence[Chunk], layer: int | None) -> Encoded:
        """Hidden states [1, T * chunks, C] and the pooled vector [1, P] of weighted chunks, float32, on the CPU.

        `layer` is the clip skip; None: the kind's own layer.
        """

        def encode_chunks(rows: Sequence[Sequence[Token]]) -> Encoded:
            return self.encode_chunks(rows, layer)

        fitting = [self.fitting(chunk) for chunk in chunks]
        hidden, pooled = encode_weighted(fitting, self.empty(), encode_chunks)
        return Encoded(hidden.float().cpu(), pooled.float().cpu())

    def fitting(self, chunk: Chunk) -> Chunk:
        """A chunk without embeddings made for an encoder of another width (logged), filled up at its end."""
        width = self.part.module.shape.width
        kept = [place for place in chunk if isinstance(place.token, int) or place.token.shape[-1] == width]
        if len(kept) == len(chunk):
            return chunk
        logger.warning("embedding ignored by %s: its vectors are not of width %d", f"CLIP-{self.name.upper()}", width)
        return [*kept, *[Weighted(self.tokenizer.pad, 1.0)] * (len(chunk) - len(kept))]

    def encode_chunks(self, rows: Sequence[Sequence[Token]], layer: int | None = None) -> Encoded:
        """Hidden states [rows, T, C] and pooled vectors [rows, P] of token rows, computed in float32."""
        vectors = torch.stack([self.vectors(row) for row in rows])
        ends = torch.tensor([self.end_of(row) for row in rows], device=vectors.device)
        chosen = self.kind.layer if layer is None else layer
        encoded: Encoded = self.part.module(vectors, ends, layer=chosen, normed=self.kind.normed)
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
