"""Turns a prompt into weighted tokens: chunks of 77, or one sequence of any length. Knows vocabularies, no encoder.

Chunks follow the recording in numeric/tokens.json.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from torch import Tensor

from executor.inference.text.bpe import END, START, clip_bpe
from executor.inference.text.embeddings import PREFIX, Embeddings
from executor.inference.text.prompt_weights import segments
from executor.inference.text.unigram import END as SEQUENCE_END
from executor.inference.text.unigram import PAD, t5_unigram

logger = logging.getLogger("weft.inference")
CHUNK = 77
# a group of at least this many tokens is cut at a chunk's end, a shorter one moves to the next chunk
CUT_FROM = 8

Token: TypeAlias = int | Tensor  # an id, or one embedding vector [C]


class Weighted(NamedTuple):
    """One place of a chunk: a token and how much it counts."""

    token: Token
    weight: float


Chunk: TypeAlias = list[Weighted]


class Numbered(NamedTuple):
    """A place and the number of the text group it comes from; 0 for start, end and padding."""

    token: Token
    weight: float
    word: int


def whole_characters(text: str) -> str:
    """A text in which half a surrogate pair, which is no character, reads as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def ids_of(text: str) -> list[int]:
    """CLIP ids of a text, without start and end."""
    ids: list[int] = clip_bpe().encode(whole_characters(text), add_special_tokens=False).ids
    return ids


def sequence_ids_of(text: str) -> list[int]:
    """T5 ids of a text, without an end."""
    ids: list[int] = t5_unigram().encode(whole_characters(text), add_special_tokens=False).ids
    return ids


@dataclass(frozen=True, kw_only=True)
class PromptTokenizer(ABC):
    """Splits a prompt into groups of tokens with weights; what is made of them is the subclasses'."""

    embeddings: Embeddings
    encode: Callable[[str], list[int]]
    end: int
    pad: int

    @abstractmethod
    def numbered(self, prompt: str) -> list[list[Numbered]]:
        """The chunks of a prompt with the number of the group that each token belongs to; at least one."""

    def tokenize(self, prompt: str) -> list[Chunk]:
        """The chunks of a prompt; at least one."""
        return [[Weighted(place.token, place.weight) for place in chunk] for chunk in self.numbered(prompt)]

    def empty(self, length: int) -> Chunk:
        """The chunk of the empty prompt at a length."""
        chunk = self.tokenize("")[0]
        return [*chunk[:length], *[Weighted(self.pad, 1.0)] * (length - len(chunk))]

    def groups(self, prompt: str) -> Iterator[list[Weighted]]:
        """Runs of tokens that belong together: a stretch of text, or one embedding."""
        for text, weight in segments(prompt):
            for part in self.parts(text):
                tokens: list[Token] = [*self.encode(part)] if isinstance(part, str) else [*part]
                yield [Weighted(token, weight) for token in tokens]

    def parts(self, text: str) -> Iterator[str | Tensor]:
        """Stretches of plain text and the vectors of the embeddings between them."""
        plain: list[str] = []
        for word in text.replace("\n", " ").split(" "):
            if not word.startswith(PREFIX) or word == PREFIX:
                plain.append(word)
                continue
            vectors, rest = self.embedding(word.removeprefix(PREFIX))
            if vectors is not None:
                if any(plain):
                    yield " ".join(plain)
                plain = []
                yield vectors
            if rest:
                plain.append(rest)
        if any(plain) or not text.strip():
            yield " ".join(plain)

    def embedding(self, name: str) -> tuple[Tensor | None, str]:
        """Vectors of a named embedding and the punctuation that followed the name."""
        vectors = self.embeddings.read(name)
        bare = name.rstrip(",")
        if vectors is None and bare != name:
            return self.embeddings.read(bare), name[len(bare) :]
        if vectors is None:
            logger.warning("there is no embedding %r; the word is left out", name)
        return vectors, ""


@dataclass(frozen=True, kw_only=True)
class ChunkTokenizer(PromptTokenizer):
    """Makes chunks: start, tokens, end, padding."""

    encode: Callable[[str], list[int]] = ids_of
    start: int = START
    end: int = END
    pad: int = END

    def numbered(self, prompt: str) -> list[list[Numbered]]:
        """The chunks of a prompt with the number of the group that each token belongs to."""
        chunks: list[list[Numbered]] = []
        places: list[Numbered] = []
        for word, group in enumerate(self.groups(prompt), start=1):
            numbered = [Numbered(token, weight, word) for token, weight in group]
            while len(places) + len(numbered) > CHUNK - 2:
                cut = CHUNK - 2 - len(places) if len(numbered) >= CUT_FROM else 0
                chunks.append(self.close([*places, *numbered[:cut]]))
                places, numbered = [], numbered[cut:]
            places.extend(numbered)
        return [*chunks, self.close(places)] if places or not chunks else chunks

    def close(self, places: list[Numbered]) -> list[Numbered]:
        """A chunk of these places: start, end and padding put on."""
        padding = CHUNK - 2 - len(places)
        ends = [Numbered(self.end, 1.0, 0), *(Numbered(self.pad, 1.0, 0) for _ in range(padding))]
        return [Numbered(self.start, 1.0, 0), *places, *ends]


@dataclass(frozen=True, kw_only=True)
class SequenceTokenizer(PromptTokenizer):
    """Makes one sequence of any length: tokens, end, and padding up to a length."""

    encode: Callable[[str], list[int]] = sequence_ids_of
    end: int = SEQUENCE_END
    pad: int = PAD
    min_length: int = 0  # with end and padding
    min_padding: int = 0  # padding that is there whatever the length

    def numbered(self, prompt: str) -> list[list[Numbered]]:
        """The one chunk of a prompt with the number of the group that each token belongs to."""
        places = [
            Numbered(token, weight, word)
            for word, group in enumerate(self.groups(prompt), start=1)
            for token, weight in group
        ]
        padding = max(self.min_padding, self.min_length - len(places) - 1)
        return [[*places, Numbered(self.end, 1.0, 0), *[Numbered(self.pad, 1.0, 0)] * padding]]

    def set_by(self, options: Mapping[str, object], name: str) -> SequenceTokenizer:
        """Itself with the lengths that options `<name>_min_length` and `<name>_min_padding` set."""
        length, padding = options.get(f"{name}_min_length"), options.get(f"{name}_min_padding")
        return replace(
            self,
            min_length=length if isinstance(length, int) else self.min_length,
            min_padding=padding if isinstance(padding, int) else self.min_padding,
        )
