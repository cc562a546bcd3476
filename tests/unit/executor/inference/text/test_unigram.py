"""T5's vocabulary: ids of odd texts as the published tokenizer gives them (recorded from its tokenizer.json)."""

import pytest

from executor.inference.text.embeddings import Embeddings
from executor.inference.text.tokens import SequenceTokenizer, sequence_ids_of
from executor.inference.text.unigram import t5_unigram

RECORDED: list[tuple[str, list[int]]] = [
    ("", []),
    ("a cat", [3, 9, 1712]),
    ("A photo of a cat, 4k!", [71, 1202, 13, 3, 9, 1712, 6, 314, 157, 55]),
    ("  two  spaces  ", [192, 4856]),
    ("line\nbreak\r\nand\ttab", [689, 1733, 11, 3808]),
    (" ", []),
    ("\n\t", []),
    ("e\u0301 \xe9 na\xefve \xfcber \xdf", [3, 154, 3, 154, 3, 29, 9, 2, 162, 510, 3, 5202]),
    (
        "\ufb01 \xbd \xb2 \u2122 \u2167 \uff21\uff11 \uff71 \u337f",
        [361, 209, 2, 357, 204, 3, 2305, 27936, 71, 536, 3, 2, 3, 2],
    ),
    ("\u65e5\u672c\u8a9e \u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4 \u4e2d\u6587", [3, 2, 3, 2, 3, 2, 3, 2]),
    (
        "\u0395\u03bb\u03bb\u03ac\u03b4\u03b1 \u041f\u0440\u0438\u0432\u0435\u0442 \u05e9\u05dc\u05d5\u05dd "
        "\u0645\u0631\u062d\u0628\u0627",
        [3, 2, 3, 2, 14709, 6609, 15042, 3, 2, 3, 2],
    ),
    ("\U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea", [3, 2, 3, 2, 3, 2, 3, 2, 3, 2]),
    ("a\x00b\x07c\x7fd", [3, 9, 2, 115, 75, 26]),
    ("\u200bzero\u200dwidth\ufeff", [5733, 9400]),
    ("non\xa0breaking\u3000space\u2028line", [529, 7814, 628, 689]),
    ("\x85next", [3, 2, 29, 10398]),
    ("<pad> </s> <unk>", [0, 1, 2]),
    ("<extra_id_0>x<extra_id_99>", [32099, 3, 226, 32000]),
    ("\u2581under_score__ --", [365, 834, 7, 9022, 834, 834, 1636]),
    ("don't \u201cq\u201d \u2018r\u2019 \u2026 ...", [278, 31, 17, 105, 1824, 153, 458, 52, 22, 3, 233, 3, 233]),
    ("http://x.y/z?q=1&r=%20", [2649, 1303, 226, 5, 63, 87, 172, 58, 1824, 2423, 536, 184, 52, 2423, 1454, 1755]),
    ("1234567890 3.14", [586, 3710, 4834, 3940, 2394, 1877, 2534]),
    ("\ufffd", []),
    ("\u0130stanbul \u0131", [3, 2, 5627, 6724, 3, 2]),
    (
        "{a|b} [x] (red:1.3) <lora:x:1>",
        [3, 2, 9, 9175, 115, 2, 784, 226, 908, 41, 1271, 10, 13606, 61, 3, 2, 322, 9, 10, 226, 10, 536, 3155],
    ),
]


@pytest.mark.parametrize(("text", "ids"), RECORDED, ids=[ascii(text) for text, _ in RECORDED])
def test_ids_are_the_recorded_ones(text, ids):
    assert sequence_ids_of(text) == ids


def test_half_a_surrogate_pair_reads_as_a_blank():
    assert sequence_ids_of("a\ud800cat") == sequence_ids_of("a cat") == [3, 9, 1712]
    assert sequence_ids_of("\ud83d\ude00") == sequence_ids_of("\U0001f600")


def test_texts_of_any_length_are_read_whole():
    assert sequence_ids_of("a red cat, " * 3000) == [3, 9, 1131, 1712, 6] * 3000
    assert sequence_ids_of("x" * 20000) == [3, *[19230] * 10000]


def test_every_piece_has_the_id_of_its_place():
    found = t5_unigram()
    assert found.get_vocab_size() == 32100
    assert [found.id_to_token(number) for number in (0, 1, 2, 31999, 32000, 32099)] == [
        "<pad>",
        "</s>",
        "<unk>",
        "\u2581Interna\u021bional",
        "<extra_id_99>",
        "<extra_id_0>",
    ]


def test_a_prompt_becomes_tokens_an_end_and_padding():
    tokenizer = SequenceTokenizer(embeddings=Embeddings(folders=()), min_length=6)
    [places] = tokenizer.tokenize("a (red:1.3) cat")
    assert places == [(3, 1.0), (9, 1.0), (1131, 1.3), (1712, 1.0), (1, 1.0), (0, 1.0)]
    assert [place.word for place in tokenizer.numbered("a (red:1.3) cat")[0]] == [1, 1, 2, 3, 0, 0]


def test_an_empty_prompt_is_an_end_and_padding():
    tokenizer = SequenceTokenizer(embeddings=Embeddings(folders=()), min_length=3)
    assert [[place.token for place in chunk] for chunk in tokenizer.tokenize("")] == [[1, 0, 0]]
