"""CLIP's byte-pair vocabulary: text to token ids. Knows nothing of chunks, weights and embeddings.

Radford et al. 2021 (arXiv:2103.00020); the merges are OpenAI's file, see clip_bpe/LICENSE. As in the recording
(numeric/tokens.json), control characters go and CJK ideographs stand alone.
"""

import gzip
from functools import cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

MERGES_FILE = Path(__file__).parent / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"
ROWS = 49408
START, END = 49406, 49407
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
WORD_END = "</w>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def byte_alphabet() -> list[str]:
    """The printable stand-in of every byte, in the order of CLIP's first 256 rows."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The merges of the vocabulary file, first learnt first."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : ROWS - 512 - len(SPECIAL) + 1]
    return [(left, right) for left, right in (line.split() for line in lines)]


@cache
def clip_bpe() -> Tokenizer:
    """The tokenizer of every CLIP text encoder; `encode(text).ids` are its ids without start and end."""
    merges = read_merges(MERGES_FILE)
    alphabet = byte_alphabet()
    tokens = [*alphabet, *(sign + WORD_END for sign in alphabet), *("".join(pair) for pair in merges), *SPECIAL]
    vocabulary = {token: row for row, token in enumerate(tokens)}
    model = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=WORD_END, unk_token=SPECIAL[1])
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer
