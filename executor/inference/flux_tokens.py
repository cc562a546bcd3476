"""Latents as the tokens of Flux.1, squares of 2 x 2 cells, and where the tokens of several pictures stand.

Knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 2
"""Latent cells of a token, each way."""
CELLS = SIDE * SIDE
OFFSET, INDEX, DIAGONAL = "offset", "index", "uxo"
"""Where further pictures stand: beside each other, each in a layer of its own, or diagonally behind the picture."""
Place = tuple[int, int, int]
"""Layer, row and column of a picture's first token."""


def as_tokens(x: Tensor) -> tuple[Tensor, int, int]:
    """Tokens [B, N, 4 C] of latents [B, C, h, w] and how many stand below and beside each other."""
    height, width = x.shape[-2:]
    x = functional.pad(x, (0, width % SIDE, 0, height % SIDE), mode="circular")
    rows, columns = x.shape[-2] // SIDE, x.shape[-1] // SIDE
    cells = x.reshape(*x.shape[:2], rows, SIDE, columns, SIDE)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2), rows, columns


def as_latents(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Latents [B, C, h, w] of tokens [B, N, 4 C]."""
    cells = tokens.reshape(len(tokens), rows, columns, -1, SIDE, SIDE)
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def grid(like: Tensor, rows: int, columns: int, first: Place = (0, 0, 0)) -> Tensor:
    """Places [B, N, 3] of a picture's tokens: its layer, row and column, as float32."""
    layer, top, left = first
    places = torch.empty(rows, columns, 3, device=like.device)
    places[..., 0] = layer
    places[..., 1] = torch.arange(top, top + rows, device=like.device)[:, None]
    places[..., 2] = torch.arange(left, left + columns, device=like.device)
    return places.flatten(0, 1).expand(len(like), -1, -1)


def standing(pictures: Sequence[Tensor], method: str, size: tuple[int, int]) -> list[Place]:
    """Where further pictures [B, C, h, w] stand, whose own is of so many rows and columns.

    Beside each other, the next one comes to the right or below, where the longer side of all grows less.
    """
    places: list[Place] = []
    height, width = size if method.startswith(DIAGONAL) else (0, 0)
    for number, picture in enumerate(pictures, start=1):
        rows, columns = (-(-side // SIDE) for side in picture.shape[-2:])
        if method == INDEX:
            places.append((number, 0, 0))
        elif method.startswith(DIAGONAL):
            places.append((0, height, width))
            height, width = height + rows, width + columns
        else:
            top, left = (0, width) if height + rows > width + columns else (height, 0)
            places.append((1, top, left))
            height, width = max(height, top + rows), max(width, left + columns)
    return places


def among_all(bias: Tensor, tokens: Tensor) -> Tensor:
    """What is added to scores [B, 1, T + N, T + N], of a bias [B, T] of the text beside a picture [B, N, ...].

    Tokens with a bias mind each other as they are.
    """
    columns = functional.pad(bias.to(tokens), (0, tokens.shape[1]))
    changed = columns != 0
    among = changed[:, :, None] & changed[:, None]
    return columns[:, None].expand(among.shape).masked_fill(among, 0.0)[:, None]
