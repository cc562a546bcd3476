"""Which kind of encoder a module is used by. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from executor.inference.memory import Part
from executor.inference.text.encoder import ClipTextEncoder, Encoder, T5TextEncoder
from executor.inference.text.kinds import EncoderKind, QwenKind, T5Kind
from executor.inference.text.qwen_encoder import QwenTextEncoder


def encoder_of(kind: EncoderKind, part: Part[nn.Module], embedding_folders: Sequence[Path] = ()) -> Encoder:
    """The encoder of a kind with a module's weights."""
    if isinstance(kind, T5Kind):
        return T5TextEncoder(kind=kind, part=part, embedding_folders=embedding_folders)
    if isinstance(kind, QwenKind):
        return QwenTextEncoder(kind=kind, part=part)
    return ClipTextEncoder(kind=kind, part=part, embedding_folders=embedding_folders)
