"""Chunks of 77 for prompts beyond the recorded ones."""

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from executor.inference.text.bpe import END, START
from executor.inference.text.embeddings import Embeddings
from executor.inference.text.tokens import CHUNK, ChunkTokenizer, ids_of

PLAIN = ChunkTokenizer(embeddings=Embeddings(folders=()))


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer with one embedding of two vectors, `style`."""
    save_file({"emb_params": torch.ones(2, 4)}, tmp_path / "style.safetensors")
    return ChunkTokenizer(embeddings=Embeddings(folders=[tmp_path]))


@given(st.text(max_size=200))
def test_every_chunk_is_77_long_and_starts_with_the_start(prompt):
    chunks = PLAIN.tokenize(prompt)
    assert {(len(chunk), chunk[0].token) for chunk in chunks} == {(CHUNK, START)}


def test_a_chunk_is_padded_with_the_end():
    assert {place.token for place in PLAIN.tokenize("cat")[0][2:]} == {END}


def test_an_encoder_can_pad_otherwise():
    tokenizer = ChunkTokenizer(embeddings=PLAIN.embeddings, pad=0)
    assert [place.token for place in tokenizer.tokenize("cat")[0][2:4]] == [END, 0]


def test_capitals_do_not_matter():
    assert PLAIN.tokenize("A Cat") == PLAIN.tokenize("a cat")


def test_control_characters_do_not_matter():
    assert PLAIN.tokenize("a \x07cat\u200b") == PLAIN.tokenize("a cat")


def test_an_embedding_stands_for_its_vectors(tokenizer):
    chunk = tokenizer.tokenize("embedding:style")[0]
    assert [torch.is_tensor(place.token) for place in chunk[:4]] == [False, True, True, False]


def test_a_missing_embedding_is_told(caplog):
    with caplog.at_level(logging.WARNING, "weft.inference"):
        PLAIN.tokenize("embedding:nowhere")
    assert "'nowhere'" in caplog.text


def test_a_short_group_moves_to_the_next_chunk_whole(tokenizer):
    prompt = "word " * 74 + "embedding:style"
    assert [sum(torch.is_tensor(place.token) for place in chunk) for chunk in tokenizer.tokenize(prompt)] == [0, 2]


def test_a_very_long_prompt_makes_many_chunks():
    assert len(PLAIN.tokenize("word " * 400)) == 6


def test_half_a_surrogate_pair_is_read_as_the_replacement_character():
    assert ids_of("a \ud83d cat") == ids_of("a \ufffd cat")
