"""Cheaper self-attention over a picture's cells: like tokens merged, or the picture cut into tiles.

Both are pairs of patches: one changes what attention is given, the other puts its answer back. Choices that are
random in the originals follow a fixed seed here, so that a prompt gives the same picture twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from executor.inference.crossing import sent

CELL = 2  # one token of each 2 x 2 stays
SMALLEST_TILE = 32  # pixels
PIXELS_PER_CELL = 8
Triple = tuple[Tensor, Tensor, Tensor]


class Matching(NamedTuple):
    """Which tokens of [B, N, C] go into which."""

    kept: Tensor  # [D] places of the tokens that others go into
    others: Tensor  # [N - D] places of the rest
    unmerged: Tensor  # [B, N - D - r, 1] which of the rest stay
    merged: Tensor  # [B, r, 1] which go
    into: Tensor  # [B, r, 1] into which of the kept

    def merge(self, x: Tensor) -> Tensor:
        """[B, N - r, C]: the rest that stays, then the kept with the means of what goes into them."""
        channels = x.shape[-1]
        rest, kept = x[:, self.others], x[:, self.kept]
        stays = rest.gather(1, self.unmerged.expand(-1, -1, channels))
        goes = rest.gather(1, self.merged.expand(-1, -1, channels))
        kept = kept.scatter_reduce(1, self.into.expand(-1, -1, channels), goes, reduce="mean")
        return torch.cat([stays, kept], dim=1)

    def unmerge(self, x: Tensor) -> Tensor:
        """[B, N, C]: every token back in its place, merged ones as copies."""
        channels, stays = x.shape[-1], self.unmerged.shape[1]
        kept = x[:, stays:]
        rest = x.new_empty(x.shape[0], len(self.others), channels)
        rest.scatter_(1, self.unmerged.expand(-1, -1, channels), x[:, :stays])
        copies = kept.gather(1, self.into.expand(-1, -1, channels))
        rest.scatter_(1, self.merged.expand(-1, -1, channels), copies)
        out = x.new_empty(x.shape[0], len(self.others) + len(self.kept), channels)
        out[:, self.others], out[:, self.kept] = rest, kept
        return out


def matching(tokens: Tensor, height: int, width: int, count: int, generator: torch.Generator) -> Matching | None:
    """The `count` tokens of a picture's [B, height * width, C] that are most like one of the kept, and where they go.

    Bolya & Hoffman 2023 (arXiv:2303.17604). None when there is nothing to merge.
    """
    rows, columns = height // CELL, width // CELL
    choice = torch.randint(CELL * CELL, (rows, columns), generator=generator)
    top = torch.arange(rows)[:, None] * CELL + choice // CELL
    left = torch.arange(columns)[None, :] * CELL + choice % CELL
    kept = (top * width + left).flatten()
    is_kept = torch.zeros(height * width, dtype=torch.bool)
    is_kept[kept] = True
    others = sent((~is_kept).nonzero()[:, 0], tokens.device)
    kept = sent(kept, tokens.device)
    count = min(count, len(others))
    if count <= 0 or len(kept) == 0:
        return None
    unit = tokens / tokens.norm(dim=-1, keepdim=True)
    likeness, nearest = (unit[:, others] @ unit[:, kept].transpose(-1, -2)).max(dim=-1)
    order = likeness.argsort(dim=-1, descending=True)[..., None]
    merged = order[:, :count]
    return Matching(kept, others, order[:, count:], merged, nearest[..., None].gather(1, merged))


class TokenMerging:
    """Merges a share of the tokens that ask, at the picture's full size."""

    def __init__(self, ratio: float, seed: int = 0) -> None:
        self.ratio, self.seed = ratio, seed
        self.plan: Matching | None = None

    def merge(self, tokens: Tensor, context: Tensor, value: Tensor, options: Mapping[str, Any]) -> Triple:
        """The attn1_patch: fewer tokens ask, all answer."""
        height, width = (int(side) for side in options["original_shape"][-2:])
        self.plan = None
        if tokens.shape[1] == height * width:
            generator = torch.Generator().manual_seed(self.seed)
            self.plan = matching(tokens, height, width, int(tokens.shape[1] * self.ratio), generator)
        return (tokens if self.plan is None else self.plan.merge(tokens)), context, value

    def unmerge(self, tokens: Tensor, options: Mapping[str, Any]) -> Tensor:
        """The attn1_output_patch: every token gets an answer."""
        return tokens if self.plan is None else self.plan.unmerge(tokens)


class Tiling:
    """Cuts the picture into tiles that attend within themselves (HyperTile, github.com/tfernd/HyperTile)."""

    def __init__(self, tile_pixels: int, swap: int, max_depth: int, *, scales: bool, seed: int = 0) -> None:
        """`swap` is among how many sizes one is chosen; `scales` makes tiles at each depth twice as many cells wide."""
        self.cells, self.swap = max(SMALLEST_TILE, tile_pixels) // PIXELS_PER_CELL, swap
        self.max_depth, self.scales = max_depth, scales
        self.generator = torch.Generator().manual_seed(seed)
        self.cut: tuple[int, int, int, int] | None = None

    def tile(self, tokens: Tensor, context: Tensor, value: Tensor, options: Mapping[str, Any]) -> Triple:
        """The attn1_patch: tiles as rows of the batch."""
        self.cut = None
        height, width = (int(side) for side in options["original_shape"][-2:])
        sizes = [(math.ceil(height / 2**depth), math.ceil(width / 2**depth)) for depth in range(self.max_depth + 1)]
        depth = next((depth for depth, (h, w) in enumerate(sizes) if h * w == tokens.shape[1]), None)
        if depth is None:
            return tokens, context, value
        height, width = sizes[depth]
        smallest = self.cells * (2**depth if self.scales else 1)
        down, across = (self._pieces(side, smallest) for side in (height, width))
        if down * across == 1:
            return tokens, context, value
        self.cut = (down, across, height // down, width // across)
        tiles = cut_up(tokens, self.cut)
        return tiles, tiles, tiles

    def join(self, tokens: Tensor, options: Mapping[str, Any]) -> Tensor:
        """The attn1_output_patch: the tiles put together again."""
        return tokens if self.cut is None else put_together(tokens, self.cut)

    def _pieces(self, side: int, smallest: int) -> int:
        """Into how many pieces of at least `smallest` cells a side is cut."""
        smallest = min(smallest, side)
        counts = [side // size for size in range(smallest, side + 1) if side % size == 0][: max(1, self.swap)]
        return counts[int(torch.randint(len(counts), (1,), generator=self.generator).item())]


def cut_up(tokens: Tensor, cut: Sequence[int]) -> Tensor:
    """[B, N, C] to [B * tiles, cells of a tile, C]."""
    down, across, height, width = cut
    grid = tokens.reshape(-1, down, height, across, width, tokens.shape[-1])
    return grid.transpose(2, 3).reshape(-1, height * width, tokens.shape[-1])


def put_together(tokens: Tensor, cut: Sequence[int]) -> Tensor:
    """The inverse of `cut_up`."""
    down, across, height, width = cut
    grid = tokens.reshape(-1, down, across, height, width, tokens.shape[-1])
    return grid.transpose(2, 3).reshape(-1, down * height * across * width, tokens.shape[-1])
