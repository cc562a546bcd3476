"""Textual-inversion embeddings: finds `embedding:name` in its folders and reads its vectors. Knows no encoder.

Gal et al. 2022 (arXiv:2208.01618).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from executor.errors import ModelFileError, UnsafePath
from executor.files import inside
from executor.inference.weights import read_weights

logger = logging.getLogger("weft.inference")
PREFIX = "embedding:"
SUFFIXES = ("", ".safetensors", ".pt", ".bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Where embeddings lie, and which vectors of a file an encoder takes."""

    folders: Sequence[Path]
    key: str = "clip_l"  # the name of this encoder's vectors in files made for several encoders

    def read(self, name: str) -> Tensor | None:
        """Vectors [n, C] of a named embedding, of whatever width, or None (logged) when there are none."""
        path = self.find(name)
        if path is None:
            return None
        try:
            vectors = pick(read_weights(path).tensors, self.key)
        except ModelFileError as error:
            logger.warning("embedding ignored: %s", error)
            return None
        if vectors is None:
            logger.warning("embedding %s ignored: its file holds no vectors", name)
            return None
        return vectors.reshape(-1, vectors.shape[-1]).to(torch.float32)

    def find(self, name: str) -> Path | None:
        """The file of a named embedding, links followed; a name that leads out of the folders finds nothing."""
        for folder in self.folders:
            for suffix in SUFFIXES:
                try:
                    path = inside(folder.absolute(), f"{name}{suffix}")
                except UnsafePath:
                    continue
                if path.is_file():
                    return path
        return None


def pick(tensors: Mapping[str, Tensor], key: str) -> Tensor | None:
    """The vectors of a file: those under the encoder's own key, the inversion's, or the first ones there."""
    for name in (key, "emb_params", "string_to_param.*"):
        if name in tensors:
            return tensors[name]
    vectors = (tensor for tensor in tensors.values() if tensor.is_floating_point() and tensor.ndim in (1, 2))
    return next(vectors, None)
