"""SentencePiece models as files hold them (Kudo & Richardson 2018, arXiv:1808.06226): unigram vocabularies.

The file's form is Protocol Buffers' wire format; only the fields that tokens follow from are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.text.tokens import whole_characters

SPACE = "▁"
Value: TypeAlias = int | bytes

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5
"""Kinds of fields on the wire."""
PIECES, TRAINER, NORMALIZER = 1, 2, 3  # fields of a model
PIECE, SCORE, TYPE = 1, 2, 3  # of a piece
NORMAL, UNKNOWN, USER_DEFINED, BYTE = 1, 2, 4, 6  # types of pieces
READ = (NORMAL, USER_DEFINED, BYTE)
"""Types of pieces that texts are made of."""
NEVER = "\uffff"
"""What begins the names of the other ones here: no text has it."""
MODEL_TYPE, BYTE_FALLBACK = 3, 35  # of a trainer
UNIGRAM = 1
CHARSMAP, DUMMY_PREFIX, EXTRA_SPACES = 2, 3, 4  # of a normalizer


VOCABULARY = "spiece_model"
"""What files of weights call a model's bytes."""


class BrokenModel(ValueError):
    """Bytes that are no SentencePiece model, or one of another kind, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """A vocabulary, and how a text is brought into the form that it is of."""

    scores: tuple[tuple[str, float], ...]  # by id
    unknown: int
    whole: tuple[str, ...]  # pieces that are found in a text before all else
    charsmap: bytes = b""
    begins_with_space: bool = True
    joins_spaces: bool = True
    has_bytes: bool = False  # whether what no piece is for becomes bytes


class PieceEncoder:
    """Texts to the ids of a vocabulary, which is read when the first text comes."""

    def __init__(self, model: Tensor, name: str) -> None:
        """`model`: bytes [n]; `name` is what holds them, in words."""
        self._model, self._name = model, name
        self._tokenizer: Tokenizer | None = None

    def __call__(self, text: str) -> list[int]:
        """Ids of a text, without an end; NodeInputError when the bytes are no vocabulary."""
        if self._tokenizer is None:
            try:
                self._tokenizer = tokenizer_of(read_pieces(self._model.cpu().numpy().tobytes()))
            except (BrokenModel, UnicodeDecodeError, struct.error) as error:
                raise NodeInputError(f"the vocabulary of the {self._name} is broken: it {error}") from error
        ids: list[int] = self._tokenizer.encode(whole_characters(text), add_special_tokens=False).ids
        return ids


def read_pieces(model: bytes) -> Pieces:
    """The vocabulary of a model; BrokenModel for bytes that hold none."""
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, Value] = {}
    normalizer: dict[int, Value] = {}
    for number, value in fields(model):
        if number == PIECES:
            pieces.append(piece_of(dict(fields(inner(value)))))
        elif number == TRAINER:
            trainer = dict(fields(inner(value)))
        elif number == NORMALIZER:
            normalizer = dict(fields(inner(value)))
    if not pieces or trainer.get(MODEL_TYPE, UNIGRAM) != UNIGRAM:
        raise BrokenModel("is no unigram vocabulary")
    unknown = next((place for place, each in enumerate(pieces) if each[2] == UNKNOWN), None)
    if unknown is None:
        raise BrokenModel("has no piece for what it does not know")
    return Pieces(
        scores=tuple((text if kind in READ else NEVER + text, score) for text, score, kind in pieces),
        unknown=unknown,
        whole=tuple(text for text, _, kind in pieces if kind == USER_DEFINED),
        charsmap=inner(normalizer.get(CHARSMAP, b"")),
        begins_with_space=bool(normalizer.get(DUMMY_PREFIX, 1)),
        joins_spaces=bool(normalizer.get(EXTRA_SPACES, 1)),
        has_bytes=bool(trainer.get(BYTE_FALLBACK, 0)),
    )


def tokenizer_of(pieces: Pieces) -> Tokenizer:
    """What turns texts into a vocabulary's ids, without an end."""
    tokenizer = Tokenizer(models.Unigram(list(pieces.scores), pieces.unknown, pieces.has_bytes))
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    if pieces.joins_spaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if pieces.begins_with_space:
        steps.append(normalizers.Prepend(SPACE))
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in pieces.whole])
    return tokenizer


def piece_of(given: dict[int, Value]) -> tuple[str, float, int]:
    """A piece's text, score and type."""
    kind = given.get(TYPE, NORMAL)
    if isinstance(kind, bytes):
        raise BrokenModel("has a piece of no type")
    [score] = struct.unpack("<f", inner(given.get(SCORE, b"\0\0\0\0")))
    return inner(given.get(PIECE, b"")).decode("utf-8"), score, kind


def inner(value: Value) -> bytes:
    """The bytes of a field; BrokenModel for a number."""
    if isinstance(value, int):
        raise BrokenModel("has a number where text is to be")
    return value


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """The fields of a message by number: numbers as integers, all else as bytes; BrokenModel where it breaks off."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = varint(message, at)
            yield key >> 3, value
            continue
        if kind == LENGTH:
            size, at = varint(message, at)
        elif kind in (FOUR_BYTES, EIGHT_BYTES):
            size = 4 if kind == FOUR_BYTES else 8
        else:
            raise BrokenModel("has fields of a kind that there is not")
        if at + size > len(message):
            raise BrokenModel("breaks off")
        yield key >> 3, message[at : at + size]
        at += size


def varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    number = shift = 0
    while at < len(message):
        byte = message[at]
        number, shift, at = number | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return number, at
    raise BrokenModel("breaks off")
