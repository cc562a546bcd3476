"""One text model with its vocabulary, used as its kind says. Knows no other encoder."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from executor.inference.memory import Part
from executor.inference.text.clip_model import ClipTextModel, Encoded
from executor.inference.text.embeddings import Embeddings
from executor.inference.text.encoding import encode_weighted
from executor.inference.text.kinds import EncoderKind, T5Kind, UMT5Kind
from executor.inference.text.sentencepiece import VOCABULARY, PieceEncoder
from executor.inference.text.t5_model import ROWS, T5TextModel
from executor.inference.text.tokens import (
    Chunk,
    ChunkTokenizer,
    PromptTokenizer,
    SequenceTokenizer,
    Token,
    Weighted,
    sequence_ids_of,
)

logger = logging.getLogger("weft.inference")
PROJECTION = "text_projection."
FLOAT_BYTES = 4


class Encoder(ABC):
    """A text model, its tokenizer and its kind; shared by clones of a CLIP."""

    def __init__(self, *, kind: EncoderKind, part: Part[nn.Module], tokenizer: PromptTokenizer) -> None:
        self.kind, self.part, self.tokenizer = kind, part, tokenizer

    @property
    def name(self) -> str:
        """What its tokens are called."""
        return self.kind.name

    def beside(self) -> dict[str, Tensor]:
        """What its file holds beside weights, by the file's names."""
        vocabulary = getattr(self.kind, "vocabulary", None)
        return {} if vocabulary is None else {VOCABULARY: vocabulary}

    @property
    @abstractmethod
    def table(self) -> nn.Embedding:
        """The vectors of its tokens."""

    # ---------------------------------------------------------------- names of weights

    def weight_name(self, key: str) -> str:
        """The name by which packs know a weight of the module."""
        return f"{self.kind.label}.transformer.{key}"

    def key_of(self, name: str) -> str | None:
        """The module's name of a weight that packs name; None when it has none."""
        key = name.removeprefix(f"{self.kind.label}.transformer.").removeprefix("text_model.")
        return key if key in self.part.weights and self.weight_name(key) == name else None

    # ---------------------------------------------------------------- text

    def tokenizer_for(self, options: Mapping[str, object]) -> PromptTokenizer:
        """Its tokenizer as a CLIP's options set it."""
        return self.tokenizer

    def working_bytes(self, chunks: Sequence[Chunk]) -> int:
        """Bytes that reading takes beside the weights; small text models take none worth counting."""
        return 0

    def empty(self) -> Chunk:
        """The chunk of the empty prompt."""
        return self.tokenizer.tokenize("")[0]

    @torch.no_grad()
    def encode(self, chunks: Sequence[Chunk], layer: int | None, *, projected: bool = True) -> Encoded:
        """Hidden states [1, T * chunks, C] and the pooled vector [1, P] of weighted chunks, float32, on the CPU.

        `layer` is the clip skip; None: the kind's own layer. Unless `projected`, the pooled vector is as wide as the
        hidden states even where the kind projects it.
        """

        def encode_chunks(rows: Sequence[Sequence[Token]]) -> Encoded:
            return self.encode_chunks(rows, layer, projected=projected)

        fitting = [self.fitting(chunk) for chunk in chunks]
        hidden, pooled = encode_weighted(fitting, self.tokenizer.empty(len(fitting[0])), encode_chunks)
        return Encoded(hidden.float().cpu(), None if pooled is None else pooled.float().cpu())

    def fitting(self, chunk: Chunk) -> Chunk:
        """A chunk without embeddings made for an encoder of another width (logged), filled up at its end."""
        width = self.table.embedding_dim
        kept = [place for place in chunk if isinstance(place.token, int) or place.token.shape[-1] == width]
        if len(kept) == len(chunk):
            return chunk
        logger.warning("embedding ignored by %s: its vectors are not of width %d", self.kind.title, width)
        return [*kept, *[Weighted(self.tokenizer.pad, 1.0)] * (len(chunk) - len(kept))]

    @abstractmethod
    def encode_chunks(
        self, rows: Sequence[Sequence[Token]], layer: int | None = None, *, projected: bool = True
    ) -> Encoded:
        """Hidden states [rows, T, C] and pooled vectors [rows, P] of token rows, computed in float32."""

    def vectors(self, row: Sequence[Token]) -> Tensor:
        """Float32 token vectors [T, C] of one row: table rows, and embeddings as they are."""
        device = self.part.device
        ids = torch.tensor([token if isinstance(token, int) else self.tokenizer.pad for token in row], device=device)
        found: Tensor = self.table(ids)
        vectors = found.to(torch.float32, copy=True)
        for place, token in enumerate(row):
            if isinstance(token, Tensor):
                vectors[place] = token.to(vectors)
        return vectors


class ClipTextEncoder(Encoder):
    """A CLIP text model, which reads chunks of 77."""

    def __init__(self, *, kind: EncoderKind, part: Part[nn.Module], embedding_folders: Sequence[Path] = ()) -> None:
        embeddings = Embeddings(folders=embedding_folders, key=kind.label)
        super().__init__(kind=kind, part=part, tokenizer=ChunkTokenizer(embeddings=embeddings, pad=kind.pad))

    @property
    def table(self) -> nn.Embedding:
        """The vectors of its tokens."""
        return cast(ClipTextModel, self.part.module).embeddings.token_embedding

    def weight_name(self, key: str) -> str:
        """The name by which packs know a weight of the module."""
        return super().weight_name(key if key.startswith(PROJECTION) else f"text_model.{key}")

    def encode_chunks(
        self, rows: Sequence[Sequence[Token]], layer: int | None = None, *, projected: bool = True
    ) -> Encoded:
        """Hidden states [rows, T, C] and pooled vectors [rows, P] of token rows, computed in float32."""
        vectors = torch.stack([self.vectors(row) for row in rows])
        ends = torch.tensor([self.end_of(row) for row in rows], device=vectors.device)
        chosen, kind = self.kind.layer if layer is None else layer, self.kind
        projects = kind.projected and projected
        encoded: Encoded = self.part.module(vectors, ends, layer=chosen, normed=kind.normed, projected=projects)
        return encoded

    def end_of(self, row: Sequence[Token]) -> int:
        """The place of the first end token, or the last place when an embedding pushed it out."""
        ends = (place for place, token in enumerate(row) if isinstance(token, int) and token == self.tokenizer.end)
        return next(ends, len(row) - 1)


class T5TextEncoder(Encoder):
    """A T5 text model, which reads one sequence of any length."""

    def __init__(self, *, kind: T5Kind, part: Part[nn.Module], embedding_folders: Sequence[Path] = ()) -> None:
        embeddings = Embeddings(folders=embedding_folders, key=kind.label)
        self.sequences = SequenceTokenizer(
            embeddings=embeddings,
            encode=ids_by(kind, part.name),
            pad=kind.pad,
            min_length=kind.min_length,
        )
        self.masks_padding, self.zeroes_padding = kind.masks_padding, kind.zeroes_padding
        super().__init__(kind=kind, part=part, tokenizer=self.sequences)

    @property
    def table(self) -> nn.Embedding:
        """The vectors of its tokens."""
        return cast(T5TextModel, self.part.module).shared

    def tokenizer_for(self, options: Mapping[str, object]) -> PromptTokenizer:
        """Its tokenizer with the lengths that options set."""
        return self.sequences.set_by(options, self.name)

    def encode_chunks(
        self, rows: Sequence[Sequence[Token]], layer: int | None = None, *, projected: bool = True
    ) -> Encoded:
        """Hidden states [rows, T, C] of token rows, computed in float32."""
        vectors = torch.stack([self.vectors(row) for row in rows])
        seen = torch.tensor([[self.is_seen(token) for token in row] for row in rows], device=vectors.device)
        chosen = self.kind.layer if layer is None else layer
        encoded: Encoded = self.part.module(vectors, layer=chosen, seen=seen if self.masks_padding else None)
        return Encoded(encoded.hidden * seen[..., None], None) if self.zeroes_padding else encoded

    def working_bytes(self, chunks: Sequence[Chunk]) -> int:
        """Bytes of one weight as it is cast, and of what the widest layer makes of the text and the empty one."""
        shape = cast(T5TextModel, self.part.module).shape
        places = 2 * max(len(chunk) for chunk in chunks)
        layer = places * (3 * shape.intermediate + 4 * shape.width)
        scores = shape.heads * places * min(places, ROWS)
        return FLOAT_BYTES * (shape.intermediate * shape.width + layer + scores)

    def is_seen(self, token: Token) -> bool:
        """Whether a token is more than padding."""
        return not isinstance(token, int) or token != self.tokenizer.pad


def ids_by(kind: T5Kind, name: str) -> Callable[[str], list[int]]:
    """How texts become ids: by the kind's own vocabulary where it has one; `name` is for what is wrong with that."""
    if isinstance(kind, UMT5Kind) and kind.vocabulary is not None:
        return PieceEncoder(kind.vocabulary, name)
    return sequence_ids_of
