"""Vocabularies as SentencePiece's files hold them, against a small one that is written here."""

import pytest
import torch

from executor.errors import NodeInputError
from executor.inference.text.sentencepiece import BrokenModel, PieceEncoder, read_pieces, tokenizer_of
from tests.tiny_umt5 import WORDS, field, piece, vocabulary

FIRST = 5 + 256
"""The id of the first word."""


def ids(text: str, model: bytes | None = None) -> list[int]:
    return tokenizer_of(read_pieces(model or vocabulary())).encode(text, add_special_tokens=False).ids


def word(text: str) -> int:
    return FIRST + WORDS.index(text)


def test_a_text_becomes_the_best_pieces_with_a_space_before_it():
    assert ids("a cat runs") == [word("▁a"), word("▁cat"), word("▁runs")]
    assert ids("cats") == [word("▁cat"), word("s")]
    assert ids("") == []


def test_spaces_stay_as_many_as_they_are():
    assert ids("a  cat") == [word("▁a"), word("▁"), word("▁cat")]
    assert ids("a   猫") == [word("▁a"), word("▁▁▁"), word("猫")]
    assert ids(" a") == [word("▁"), word("▁a")]


def test_spaces_are_joined_where_the_vocabulary_says_so():
    assert ids("  a   cat ", vocabulary(joins_spaces=True)) == [word("▁a"), word("▁cat")]


def test_what_no_piece_is_for_becomes_its_bytes():
    assert ids("a é") == [word("▁a"), word("▁"), 5 + 0xC3, 5 + 0xA9]


def test_without_bytes_it_is_unknown():
    assert ids("a é", vocabulary(fallback=False)) == [word("▁a"), word("▁"), 3]


def test_pieces_of_the_users_are_found_before_all_else():
    assert 4 in ids("a [web] cat")


def test_marks_of_the_training_are_not_read_from_texts():
    assert not {0, 1, 2} & set(ids("</s> <pad> <s>"))


def test_scores_and_texts_are_the_files():
    pieces = read_pieces(vocabulary(piece("▁zebra", -3.5)))
    assert pieces.scores[-1] == ("▁zebra", -3.5)
    assert (pieces.unknown, pieces.whole, pieces.has_bytes, pieces.joins_spaces) == (3, ("[web]",), True, False)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (b"", "no unigram vocabulary"),
        (vocabulary(kind=2), "no unigram vocabulary"),
        (piece("a"), "no piece for what it does not know"),
        (vocabulary()[:-1], "breaks off"),
        (b"\x0b", "of a kind that there is not"),
        (b"\x80", "breaks off"),
        (field(1, 7), "a number where text"),
        (field(1, field(1, 7)), "a number where text"),
        (field(1, field(3, "x")), "of no type"),
    ],
)
def test_bytes_that_are_no_vocabulary_are_told(model, told):
    with pytest.raises(BrokenModel, match=told):
        read_pieces(model)


def test_a_broken_vocabulary_is_told_when_the_first_text_comes():
    encode = PieceEncoder(torch.zeros(1, dtype=torch.uint8), "UMT5-XXL text encoder of x.safetensors")
    with pytest.raises(NodeInputError, match=r"UMT5-XXL text encoder of x\.safetensors is broken: it"):
        encode("a")


def test_halves_of_characters_are_read_as_none():
    encode = PieceEncoder(torch.frombuffer(bytearray(vocabulary()), dtype=torch.uint8), "x")
    assert encode("a \ud83d") == [word("▁a"), word("▁"), 5 + 0xEF, 5 + 0xBF, 5 + 0xBD]
