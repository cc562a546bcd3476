"""Draws scenes as pictures with anti-aliased edges, by tables of signed distances."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch.nn.functional import grid_sample

from training.grammar import COLOURS, SHAPES, Scene

TABLE_SIDE, EXTENT = 321, 1.6


def outline(shape: str) -> np.ndarray | None:
    """Corners (N, 2) of a polygon in units of the radius, y down; None for the round shapes."""
    if shape == "square":
        return 0.84 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)
    if shape == "diamond":
        return np.array([(0, -1.05), (0.72, 0), (0, 1.05), (-0.72, 0)], float)
    if shape == "triangle":
        return np.array([(0, -0.9), (1.02, 0.86), (-1.02, 0.86)], float)
    if shape == "star":
        turn = np.arange(10) * np.pi / 5
        reach = np.where(np.arange(10) % 2 == 0, 1.1, 0.46)
        return np.stack([reach * np.sin(turn), 0.05 - reach * np.cos(turn)], 1)
    if shape == "cross":
        a, b = 0.31, 0.97
        return np.array(
            [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]
        )
    if shape == "heart":
        turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        x = 16 * np.sin(turn) ** 3
        y = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
        return np.stack([x / 16.5, -(y + 2.5) / 15.5], 1)
    return None


def polygon_distance(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance of points (x, y) from a polygon's outline, negative within."""
    nearest = np.full(x.shape, np.inf)
    within = np.zeros(x.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
        if ay != by:
            within ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    return np.where(within, -nearest, nearest)


@cache
def distance_tables() -> torch.Tensor:
    """Signed distances (shapes, side, side) on [-EXTENT, EXTENT]^2, in units of the radius."""
    axis = np.linspace(-EXTENT, EXTENT, TABLE_SIDE)
    x, y = np.meshgrid(axis, axis)
    tables = []
    for shape in SHAPES:
        corners = outline(shape)
        if corners is not None:
            tables.append(polygon_distance(corners, x, y))
        elif shape == "circle":
            tables.append(np.hypot(x, y) - 0.95)
        else:
            tables.append(np.abs(np.hypot(x, y) - 0.76) - 0.235)
    return torch.from_numpy(np.stack(tables)).float()


def coverage(scenes: list[Scene], side: int) -> torch.Tensor:
    """How much of every pixel the objects cover, (B, 1, side, side) in 0..1."""
    axis = (torch.arange(side) + 0.5) / side
    nearest = torch.full((len(scenes), 1, side, side), 1e3)
    radius = torch.tensor([scene.radius for scene in scenes])
    kinds = torch.tensor([SHAPES.index(scene.shape) for scene in scenes])
    centres = [scene.centres() for scene in scenes]
    for turn in range(3):
        for kind in range(len(SHAPES)):
            rows = [i for i in torch.where(kinds == kind)[0].tolist() if len(centres[i]) > turn]
            if not rows:
                continue
            where = torch.tensor([centres[i][turn] for i in rows])
            scale = radius[rows, None] * EXTENT
            x, y = (axis - where[:, :1]) / scale, (axis - where[:, 1:]) / scale
            grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], -1)
            table = distance_tables()[kind].expand(len(rows), 1, -1, -1)
            found = grid_sample(table, grid, padding_mode="border", align_corners=True)
            nearest[rows] = torch.minimum(nearest[rows], found * radius[rows, None, None, None] * side)
    return (0.5 - nearest).clamp(0, 1)


def palette() -> torch.Tensor:
    """The colours (C, 3), -1..1, in COLOURS' order."""
    return torch.tensor(list(COLOURS.values())) / 127.5 - 1


def draw(scenes: list[Scene], side: int) -> torch.Tensor:
    """Pictures (B, 3, side, side) of scenes, -1..1."""
    names = list(COLOURS)
    cover = coverage(scenes, side)
    front = palette()[[names.index(scene.colour) for scene in scenes], :, None, None]
    back = palette()[[names.index(scene.background) for scene in scenes], :, None, None]
    return back + (front - back) * cover


def to_bytes(pictures: torch.Tensor) -> np.ndarray:
    """Pictures (B, H, W, 3) as bytes."""
    return ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
