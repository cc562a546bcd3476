"""Qwen2's byte-pair vocabulary: text to token ids. Knows nothing of templates and pictures.

Bai et al. 2023 (arXiv:2309.16609), Yang et al. 2024 (arXiv:2407.10671); the merges are Alibaba Cloud's, see
qwen_bpe/LICENSE.
"""

import gzip
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from executor.inference.text.bpe import byte_alphabet

MERGES_FILE = Path(__file__).parent / "qwen_bpe" / "merges.txt.gz"
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Tokens behind those of texts, in the order of their ids."""
MARKS = (
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
"""Those behind them, which count as text."""
PAD, TURN, TURN_END, PICTURE = 151643, 151644, 151645, 151655
"""Ids of the padding, of the begin and end of what one party says, and of a place of a picture."""


@cache
def qwen_bpe() -> Tokenizer:
    """The tokenizer of Qwen2.5-VL; `encode(text).ids` are its ids."""
    with gzip.open(MERGES_FILE, "rt", encoding="utf-8") as file:
        merges = [(left, right) for left, right in (line.split(" ") for line in file.read().split("\n"))]
    tokens = [*byte_alphabet(), *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={token: row for row, token in enumerate(tokens)}, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in MARKS])
    return tokenizer
