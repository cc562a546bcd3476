"""Qwen2.5-VL as a text encoder: prompts in conversations, with pictures. Knows no other encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.errors import NodeInputError
from executor.inference.memory import Part
from executor.inference.text.chat import ChatTokenizer, beginning
from executor.inference.text.clip_model import Encoded
from executor.inference.text.embeddings import Embeddings
from executor.inference.text.encoder import Encoder
from executor.inference.text.kinds import EncoderKind
from executor.inference.text.qwen_model import QwenTextModel
from executor.inference.text.qwen_vision import TOKEN
from executor.inference.text.tokens import Chunk, PromptTokenizer, Token

LEAST, MOST = 4 * TOKEN * TOKEN, 16384 * TOKEN * TOKEN
"""Pixels of the pictures that it sees: smaller and larger ones are scaled."""
PICTURE = 4  # dimensions of a token that is a picture


class QwenTextEncoder(Encoder):
    """A Qwen2.5-VL, which reads one conversation and answers with the states of the user's words."""

    def __init__(self, *, kind: EncoderKind, part: Part[nn.Module]) -> None:
        self.conversations = ChatTokenizer(embeddings=Embeddings(folders=(), key=kind.label), pad=kind.pad)
        super().__init__(kind=kind, part=part, tokenizer=self.conversations)

    @property
    def module(self) -> QwenTextModel:
        """The model."""
        return cast(QwenTextModel, self.part.module)

    @property
    def table(self) -> nn.Embedding:
        """The vectors of its tokens."""
        return self.module.model.embed_tokens

    def tokenizer_for(self, options: Mapping[str, object]) -> PromptTokenizer:
        """Its tokenizer with the pictures and the words around prompts that options set."""
        return self.conversations.set_by(options)

    @torch.no_grad()
    def encode(self, chunks: Sequence[Chunk], layer: int | None, *, projected: bool = True) -> Encoded:
        """Hidden states [1, T, C] of the user's words and what follows, float32, on the CPU; weights mean nothing.

        Raises NodeInputError for pictures where the file has nothing that sees.
        """
        tokens = [place.token for chunk in chunks for place in chunk]
        before = sum(places_of(token) for token in tokens[: beginning(tokens)])
        hidden = self.encode_chunks([tokens], layer).hidden[:, before:]
        return Encoded(hidden.float().cpu(), None)

    def encode_chunks(
        self, rows: Sequence[Sequence[Token]], layer: int | None = None, *, projected: bool = True
    ) -> Encoded:
        """Hidden states [rows, T, C] of whole token rows, computed in float32."""
        vectors = torch.stack([self.vectors(row) for row in rows])
        places = torch.stack([stands(row) for row in rows]).to(vectors.device)
        encoded: Encoded = self.module(vectors, places, layer=self.kind.layer if layer is None else layer)
        return encoded

    def vectors(self, row: Sequence[Token]) -> Tensor:
        """Float32 token vectors [T, C] of one row; a picture gives several."""
        parts: list[Tensor] = []
        begin = 0
        for place, token in enumerate(row):
            if is_picture(token):
                parts += [super().vectors(row[begin:place]), self.seen(token)]
                begin = place + 1
        return torch.cat([*parts, super().vectors(row[begin:])])

    def seen(self, picture: Tensor) -> Tensor:
        """Token vectors [N, C] of a picture [1, H, W, 3] in 0..1; NodeInputError where nothing in the file sees."""
        if self.module.visual is None:
            told = "this text encoder's file holds the language part of Qwen2.5-VL alone, which sees no pictures"
            raise NodeInputError(f"{told}. Load one that holds visual.… too")
        return self.module.visual(scaled(picture).to(self.part.device))  # type: ignore[no-any-return]


def is_picture(token: Token) -> TypeGuard[Tensor]:
    """Whether a token is a picture."""
    return isinstance(token, Tensor) and token.ndim == PICTURE


def seen_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that a picture is seen at: whole tokens, next to its own size (Qwen's image processor)."""
    tall, wide = round(height / TOKEN) * TOKEN, round(width / TOKEN) * TOKEN
    if tall * wide > MOST:
        factor = math.sqrt(height * width / MOST)
        tall, wide = (max(1, math.floor(side / factor / TOKEN)) * TOKEN for side in (height, width))
    elif tall * wide < LEAST:
        factor = math.sqrt(LEAST / (height * width))
        tall, wide = (math.ceil(side * factor / TOKEN) * TOKEN for side in (height, width))
    return tall, wide


def scaled(picture: Tensor) -> Tensor:
    """A picture [1, H, W, 3] as [1, 3, h, w] of whole tokens, float32."""
    planes, size = picture.float().movedim(-1, 1), seen_size(*picture.shape[1:3])
    if planes.shape[-2:] == size:
        return planes
    return functional.interpolate(planes, size=size, mode="bicubic", antialias=True).clamp(0.0, 1.0)


def tokens_in(picture: Tensor) -> tuple[int, int]:
    """Rows and columns of the tokens of a picture [1, H, W, 3]."""
    height, width = seen_size(*picture.shape[1:3])
    return height // TOKEN, width // TOKEN


def places_of(token: Token) -> int:
    """How many places a token takes."""
    return math.prod(tokens_in(token)) if is_picture(token) else 1


def stands(row: Sequence[Token]) -> Tensor:
    """Places [3, T] of a row's tokens in time, rows and columns; what follows a picture is behind its longer side."""
    found, behind = [], 0
    for token in row:
        if is_picture(token):
            rows, columns = tokens_in(token)
            down = torch.arange(rows)[:, None].expand(rows, columns)
            across = torch.arange(columns).expand(rows, columns)
            grid = torch.stack([torch.zeros_like(down), down, across]).flatten(1)
            found.append(grid + behind)
            behind += max(rows, columns)
        else:
            found.append(torch.full((3, 1), behind))
            behind += 1
    return torch.cat(found, dim=1)
