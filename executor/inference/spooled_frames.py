"""Frames of a video that is made batch by batch: kept on disk until the last batch is there. Knows no format."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.frames import DecodedLatents, Pictures, file_values

QUICK = 1  # of zlib's levels
BITS = 16
LARGEST = float(2**BITS - 1)


class SpooledFrames:
    """Pictures [H, W, C] by their number, one file each in a folder, rounded to 16 bits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = sorted(folder.glob("*.npy.gz"))
        self._batch = 0

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Tensor:
        with gzip.open(self._paths[number]) as file:
            return torch.from_numpy(np.load(file).astype(np.float32)) / LARGEST

    def begin(self, batch: int) -> None:
        """Let the frames of a batch follow; those that an attempt before left of it are forgotten."""
        self._batch = batch
        first = self._name(batch, 0)
        for path in self._paths:
            if path.name >= first:
                path.unlink()
        self._paths = [path for path in self._paths if path.name < first]

    def add(self, picture: Tensor) -> None:
        """Keep one more; NodeInputError for one of another size than the first."""
        values = file_values(picture, BITS)
        if self._paths and (first := self[0].shape) != values.shape:
            sizes = f"{values.shape[1]}x{values.shape[0]}", f"{first[1]}x{first[0]}"
            raise NodeInputError(f"a frame of {sizes[0]} pixels cannot follow frames of {sizes[1]}")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / self._name(self._batch, len(self._paths))
        with gzip.open(path, "wb", compresslevel=QUICK) as file:
            np.save(file, values)
        self._paths.append(path)

    def remove(self) -> None:
        """Forget all frames, and the folder."""
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._paths = []
        if self.folder.is_dir():
            self.folder.rmdir()

    def _name(self, batch: int, number: int) -> str:
        return f"{batch:08}_{number:08}.npy.gz"


Frames = Pictures | DecodedLatents | SpooledFrames
"""Pictures by their number, wherever they lie."""
