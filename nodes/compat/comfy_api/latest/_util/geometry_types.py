"""Shapes as nodes pass them on."""

from __future__ import annotations

from torch import Tensor


class VOXEL:
    """A grid of cells."""

    def __init__(self, data: Tensor) -> None:
        self.data = data


class MESH:
    """A surface of triangles: `vertices` [B, N, 3], `faces` [B, M, 3]."""

    def __init__(self, vertices: Tensor, faces: Tensor) -> None:
        self.vertices = vertices
        self.faces = faces
