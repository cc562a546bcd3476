"""A small UMT5 encoder with a vocabulary of its own in its file, as ComfyUI's files have it."""

from __future__ import annotations

import struct
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.tiny_checkpoint import random_tensors
from tests.tiny_texts import t5_shapes

WIDTH, LAYERS, HEADS = 24, 2, 2
BIAS = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
WORDS = ("▁a", "▁cat", "▁runs", "s", "▁", "c", "a", "t", "r", "u", "n", "!", "▁▁▁", "猫")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


def varint(number: int) -> bytes:
    """A number in Protocol Buffers' form."""
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """A field of a message."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text: str, score: float = 0.0, kind: int = NORMAL) -> bytes:
    """A piece of a vocabulary."""
    return field(1, field(1, text) + field(2, score) + (b"" if kind == NORMAL else field(3, kind)))


def vocabulary(*more: bytes, fallback: bool = True, joins_spaces: bool = False, kind: int = 1) -> bytes:
    """A SentencePiece model: padding, end, start and unknown, bytes, and a few words."""
    pieces = [piece("<pad>", kind=CONTROL), piece("</s>", kind=CONTROL), piece("<s>", kind=CONTROL)]
    pieces += [piece("<unk>", kind=UNKNOWN), piece("[web]", kind=USER_DEFINED)]
    pieces += [piece(f"<0x{byte:02X}>", -20.0, BYTE) for byte in range(256)]
    pieces += [piece(word, -1.0 - place / 10) for place, word in enumerate(WORDS)]
    trainer = field(2, field(3, kind) + (field(35, 1) if fallback else b""))
    normalizer = field(3, field(1, "identity") + field(4, int(joins_spaces)))
    return b"".join([*pieces, *more, trainer, normalizer])


def umt5_tensors(prefix: str = "", *, rows: int = 300, width: int = WIDTH) -> dict[str, Tensor]:
    """Random weights of an encoder by their original names, and its vocabulary."""
    shapes = t5_shapes(width, layers=LAYERS, heads=HEADS, inner=16, rows=rows)
    shapes |= {BIAS.format(number): (32, HEADS) for number in range(LAYERS)}
    tensors = random_tensors({prefix: shapes}, torch.float32)
    return tensors | {f"{prefix}spiece_model": torch.frombuffer(bytearray(vocabulary()), dtype=torch.uint8)}


def write_umt5(path: Path, **sizes: int) -> Path:
    """A file of such an encoder."""
    save_file(umt5_tensors(**sizes), path)
    return path
