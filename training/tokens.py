"""CLIP token ids of captions, by the merges of CLIP's byte-pair vocabulary."""

from __future__ import annotations

import gzip
from functools import cache
from itertools import pairwise
from pathlib import Path

BPE_PATH = Path(__file__).parent.parent / "executor/inference/text/clip_bpe/bpe_simple_vocab_16e6.txt.gz"
BOS, EOS, LENGTH, ROWS = 49406, 49407, 77, 49408


@cache
def merge_ranks() -> dict[tuple[str, str], int]:
    """Rank of every merge of the vocabulary, lowest first."""
    with gzip.open(BPE_PATH, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : ROWS - 512 - 2 + 1]
    return {tuple(line.split()): rank for rank, line in enumerate(lines)}  # type: ignore[misc]


def byte_rank(character: str) -> int:
    """Place of a printable ASCII character among the vocabulary's first 256 rows."""
    return ord(character) - ord("!")


@cache
def word_ids(word: str) -> tuple[int, ...]:
    """Ids of one lowercase ASCII word or punctuation mark."""
    ranks = merge_ranks()
    parts = [*word[:-1], word[-1] + "</w>"]
    while len(parts) > 1:
        rank, place = min((ranks.get(pair, 1 << 30), i) for i, pair in enumerate(pairwise(parts)))
        if rank == 1 << 30:
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return tuple(part_id(part) for part in parts)


@cache
def merged_rows() -> dict[str, int]:
    """Row of every merged token."""
    return {"".join(pair): 512 + rank for pair, rank in merge_ranks().items()}


def part_id(part: str) -> int:
    """Row of one token."""
    if part in merged_rows():
        return merged_rows()[part]
    return byte_rank(part[0]) + (256 if part.endswith("</w>") else 0)


def caption_ids(caption: str) -> list[int]:
    """The 77 token ids of a caption: BOS, words, EOS and EOS as padding."""
    words = caption.lower().replace(",", " , ").split()
    ids = [i for word in words for i in word_ids(word)][: LENGTH - 2]
    return [BOS, *ids, *[EOS] * (LENGTH - 1 - len(ids))]
