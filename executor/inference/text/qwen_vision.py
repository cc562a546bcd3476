"""What sees pictures in Qwen2.5-VL (Bai et al. 2025, arXiv:2502.13923). Knows neither prompts nor files.

A picture is cut into patches of 14 x 14 pixels; most layers look within windows of 8 x 8 patches, every so many at all.
Four patches together give one token of the language part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.inference.interruption import stop_if_asked

PATCH = 14
MERGE = 2  # patches of a token, each way
TOKEN = PATCH * MERGE
"""Pixels of a token, each way."""
WINDOW = 4  # tokens of a window, each way
FRAMES = 2  # of a patch: a picture stands still
HEAD_WIDTH = 80
EPSILON = 1e-6
LONGEST_PERIOD = 10000.0
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the colours of pictures that it was trained with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QwenVisionShape:
    """Sizes of such a model."""

    width: int = 1280
    layers: int = 32
    intermediate: int = 3420
    out: int = 3584  # width of the language part

    @property
    def between(self) -> int:
        """Every so many layers one looks at the whole picture."""
        return max(1, self.layers // 4)


class PatchEmbed(nn.Module):
    """Pixels to patches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        size = (FRAMES, PATCH, PATCH)
        self.proj = nn.Conv3d(3, width, size, stride=size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [1, 3, H, W] to [C, H / 14, W / 14]."""
        return self.proj(x[:, :, None].expand(-1, -1, FRAMES, -1, -1))[0, :, 0]  # type: ignore[no-any-return]


class VisionAttention(nn.Module):
    """Attention of patches to those of the same window."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], windows: Sequence[int]) -> Tensor:
        """Mix the patches of x [N, C], whose windows follow each other and are of so many patches."""
        query, key, value = self.qkv(x).unflatten(1, (3, -1, HEAD_WIDTH)).permute(1, 2, 0, 3)[:, None]
        parts = (each.split(list(windows), dim=2) for each in (turned(query, turns), turned(key, turns), value))
        mixed = [functional.scaled_dot_product_attention(*part) for part in zip(*parts, strict=True)]
        return self.proj(torch.cat(mixed, dim=2)[0].transpose(0, 1).flatten(1))  # type: ignore[no-any-return]


class VisionMlp(nn.Module):
    """Two linear layers side by side, one of which gates the other, and one behind."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, inner), nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C] to the same shape."""
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class VisionBlock(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, shape: QwenVisionShape) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(shape.width, eps=EPSILON), nn.RMSNorm(shape.width, eps=EPSILON)
        self.attn, self.mlp = VisionAttention(shape.width), VisionMlp(shape.width, shape.intermediate)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], windows: Sequence[int]) -> Tensor:
        """x [N, C] to the same shape."""
        x = x + self.attn(self.norm1(x), turns, windows)
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class PatchMerger(nn.Module):
    """Four patches to one token of the language part."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        together = width * MERGE * MERGE
        self.ln_q = nn.RMSNorm(width, eps=EPSILON)
        self.mlp = nn.Sequential(nn.Linear(together, together), nn.GELU(), nn.Linear(together, out))

    def forward(self, x: Tensor) -> Tensor:
        """x [4 N, C] to [N, out]."""
        return self.mlp(self.ln_q(x).unflatten(0, (-1, MERGE * MERGE)).flatten(1))  # type: ignore[no-any-return]


class QwenVision(nn.Module):
    """A picture to tokens of the language part."""

    def __init__(self, shape: QwenVisionShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = PatchEmbed(shape.width)
        self.blocks = nn.ModuleList(VisionBlock(shape) for _ in range(shape.layers))
        self.merger = PatchMerger(shape.width, shape.out)

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens [N, out], row by row, of a picture [1, 3, H, W] in 0..1 whose sides are whole numbers of 28 pixels.

        Raises Interrupted between layers when the user stopped the prompt.
        """
        mean, deviation = (pixels.new_tensor(each).reshape(1, 3, 1, 1) for each in (MEAN, DEVIATION))
        patches = self.patch_embed((pixels - mean) / deviation)
        rows, columns = patches.shape[1] // MERGE, patches.shape[2] // MERGE
        order, windows = windowed(rows, columns, pixels.device)
        x = by_token(patches)[order].flatten(0, 1)
        turns = tuple(each[order].flatten(0, 1)[None, None] for each in turns_in(rows, columns, pixels.device))
        for number, block in enumerate(self.blocks, start=1):
            stop_if_asked()
            sees_all = number % self.shape.between == 0
            x = block(x, turns, [len(x)] if sees_all else windows)
        merged: Tensor = self.merger(x)
        return merged[order.argsort()]


def windowed(rows: int, columns: int, device: torch.device) -> tuple[Tensor, list[int]]:
    """The tokens of a picture in the order of its windows [N], and how many patches each window has."""
    whole = torch.arange(rows * columns, device=device).reshape(rows, columns)
    windows = [part.flatten() for band in torch.split(whole, WINDOW, 0) for part in torch.split(band, WINDOW, 1)]
    return torch.cat(windows), [len(window) * MERGE * MERGE for window in windows]


def by_token(maps: Tensor) -> Tensor:
    """Patches [C, h, w] as [tokens, 4, C], row by row, those of a token side by side."""
    rows, columns = maps.shape[1] // MERGE, maps.shape[2] // MERGE
    apart = maps.reshape(-1, rows, MERGE, columns, MERGE).permute(1, 3, 2, 4, 0)
    return apart.reshape(rows * columns, MERGE * MERGE, -1)


def turns_in(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [tokens, 4, 40] of the patches: half of the angles are of rows, half of columns."""
    side = HEAD_WIDTH // 2
    steps = LONGEST_PERIOD ** -(torch.arange(0, side, 2, device=device, dtype=torch.float32) / side)
    down, across = (torch.arange(count * MERGE, device=device, dtype=torch.float32) for count in (rows, columns))
    size = (side // 2, rows * MERGE, columns * MERGE)
    angles = torch.cat(
        [
            (steps[:, None, None] * down[:, None]).expand(size),
            (steps[:, None, None] * across).expand(size),
        ]
    )
    return by_token(angles.cos()), by_token(angles.sin())


def turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys [B, heads, T, C] turned by cosines and sines [B, 1, T, C / 2]; halves make the pairs."""
    cosine, sine = turns
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(x.dtype)
