"""T5's unigram vocabulary: text to token ids. Knows nothing of weights, embeddings and lengths.

Raffel et al. 2020 (arXiv:1910.10683), Kudo 2018 (arXiv:1804.10959); pieces, scores and the normalisation are Google's
file, see t5_unigram/LICENSE.
"""

import gzip
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

FOLDER = Path(__file__).parent / "t5_unigram"
PAD, END, UNKNOWN = 0, 1, 2
EXTRA = 100  # ids behind the pieces for blanks of the training, the last number first
SPACE = "▁"


def read_pieces(path: Path) -> list[tuple[str, float]]:
    """The pieces of the vocabulary file with their scores, by id."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        lines = file.read().removesuffix("\n").split("\n")
    return [(piece, float(score)) for piece, score in (line.split("\t") for line in lines)]


@cache
def t5_unigram() -> Tokenizer:
    """The tokenizer of T5 v1.1 text encoders; `encode(text).ids` are its ids without an end."""
    pieces = read_pieces(FOLDER / "pieces.tsv.gz")
    blanks = [f"<extra_id_{number}>" for number in reversed(range(EXTRA))]
    special = [piece for piece, _ in pieces[: UNKNOWN + 1]] + blanks
    tokenizer = Tokenizer(models.Unigram([*pieces, *((blank, 0.0) for blank in blanks)], UNKNOWN, False))
    charsmap = gzip.decompress((FOLDER / "nmt_nfkc.bin.gz").read_bytes())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(charsmap),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), SPACE),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=True)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    return tokenizer
