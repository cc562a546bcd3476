"""Turns a prompt into chunks of 77 weighted tokens. Knows the vocabulary's limits, not the encoder.

Chunks follow the recording in numeric/tokens.json.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from torch import Tensor

from executor.inference.text.bpe import END, START, clip_bpe
from executor.inference.text.embeddings import PREFIX, Embeddings
from executor.inference.text.prompt_weights import segments

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


def ids_of(text: str) -> list[int]:
    """CLIP ids of a text, without start and end; half a surrogate pair, which is no character, reads as U+FFFD."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    ids: list[int] = clip_bpe().encode(whole, add_special_tokens=False).ids
    return ids


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkTokenizer:
    """Makes chunks: start, tokens, end, padding."""

    embeddings: Embeddings
    encode: Callable[[str], list[int]] = ids_of
    start: int = START
    end: int = END
    pad: int = END

    def tokenize(self, prompt: str) -> list[Chunk]:
        """The chunks of a prompt; at least one."""
        return [[Weighted(place.token, place.weight) for place in chunk] for chunk in self.numbered(prompt)]

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
