"""Blurring, edges, flat morphology and reduced colours of pictures as tensors. Knows no nodes.

Tensors are [B, C, H, W] unless said. The numbers are bound by the recordings in reference/numeric (ops_image).
"""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
UNSHARP_STRENGTH = 10.0
CANNY_RADIUS = 2
TIE = 1e-5  # gradients closer than this count as equal
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
# Steps (down, right) across an edge, by the gradient's direction in eighths of a turn.
ACROSS = ((0, 1), (1, 1), (1, 0), (1, -1))


def gaussian(radius: int, sigma: float) -> Tensor:
    """A kernel [2r+1, 2r+1] that sums to 1; `sigma` is in parts of the radius, as the nodes have it."""
    place = torch.linspace(-1, 1, 2 * radius + 1)
    kernel = torch.exp(-(place[:, None] ** 2 + place[None] ** 2) / (2 * sigma * sigma))
    return kernel / kernel.sum()


def filtered(samples: Tensor, kernel: Tensor) -> Tensor:
    """Each channel under a kernel of odd size, mirrored at the borders (as often as a small picture needs)."""
    channels, radius = samples.shape[1], kernel.shape[-1] // 2
    weights = kernel.to(samples).expand(channels, 1, *kernel.shape).contiguous()
    return functional.conv2d(_mirrored(samples, radius), weights, groups=channels)


def sharpened(samples: Tensor, kernel: Tensor, alpha: float) -> Tensor:
    """Unsharp masking: each channel moved away from its blur under a kernel, by ten times `alpha` of the distance.

    The ten was found by fitting to the recordings (ops_image, cases ImageSharpen: 10.000 in all three).
    """
    return samples + (samples - filtered(samples, kernel)) * (UNSHARP_STRENGTH * alpha)


def _mirrored(samples: Tensor, radius: int) -> Tensor:
    while radius > 0:
        height, width = samples.shape[-2:]
        down, right = min(radius, height - 1), min(radius, width - 1)
        if not down or not right:
            return functional.pad(samples, (radius,) * 4, mode="replicate")
        step = min(down, right)
        samples, radius = functional.pad(samples, (step,) * 4, mode="reflect"), radius - step
    return samples


# ---------------------------------------------------------------- morphology


def dilated(samples: Tensor, size: int) -> Tensor:
    """The largest value within a square of `size`."""
    before, after = size // 2, size - 1 - size // 2
    padded = functional.pad(samples, (before, after, before, after), value=-math.inf)
    return functional.max_pool2d(padded, size, stride=1)


def eroded(samples: Tensor, size: int) -> Tensor:
    """The smallest value within a square of `size`."""
    return -dilated(-samples, size)


# ---------------------------------------------------------------- edges


def canny(samples: Tensor, low: float, high: float) -> Tensor:
    """Edges [B, 1, H, W] of RGB pictures as 0 and 1 (Canny 1986).

    Gradients above `high` make an edge, and those above `low` that touch one go on with it.
    """
    grey = (samples[:, :3] * samples.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    place = torch.arange(-CANNY_RADIUS, CANNY_RADIUS + 1, dtype=torch.float32)
    line = torch.exp(-(place**2) / 2)
    grey = filtered(grey, torch.outer(line, line) / line.sum() ** 2)
    sobel = grey.new_tensor(SOBEL)
    kernels = torch.stack([sobel, sobel.T])[:, None]
    along, down = functional.conv2d(functional.pad(grey, (1,) * 4, mode="replicate"), kernels).chunk(2, dim=1)
    strength = (along * along + down * down + 1e-6).sqrt()
    thin = strength * _is_ridge(strength, torch.atan2(down, along))
    return _connected(thin > high, thin > low).to(samples.dtype)


def _is_ridge(strength: Tensor, angle: Tensor) -> Tensor:
    """Where no neighbour across the edge is stronger; of two equal ones the second in reading order counts."""
    height, width = strength.shape[-2:]
    around = functional.pad(strength, (1,) * 4)
    direction = (torch.round(angle / (math.pi / 4)) % 4).long()

    def neighbour(down: int, right: int) -> Tensor:
        return around[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    after = torch.cat([neighbour(down, right) for down, right in ACROSS], dim=1).gather(1, direction)
    before = torch.cat([neighbour(-down, -right) for down, right in ACROSS], dim=1).gather(1, direction)
    return (strength - after >= -TIE) & (strength - before > TIE)


def _connected(edges: Tensor, weak: Tensor) -> Tensor:
    while True:
        grown = (functional.max_pool2d(edges.float(), 3, stride=1, padding=1) > 0) & weak
        if torch.equal(grown, edges):
            return edges
        edges = grown


# ---------------------------------------------------------------- colours


def bayer(order: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Thresholds [order, order] between -0.5 and 0.5 in Bayer's order (1973); `order` is a power of two."""
    matrix = np.zeros((1, 1))
    while matrix.shape[0] < order:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / order**2 - 0.5


def with_fewer_colours(picture: Image.Image, colours: int, dither: str) -> Image.Image:
    """An RGB picture in its own `colours` commonest colours; `dither`: none, floyd-steinberg or bayer-ORDER."""
    palette = picture.quantize(colors=colours)
    if dither.startswith("bayer-"):
        matrix = bayer(int(dither.removeprefix("bayer-")))
        tiles = (-(-picture.height // len(matrix)), -(-picture.width // len(matrix)))
        pattern = np.tile(matrix, tiles)[: picture.height, : picture.width, None] * (2 * 256 / colours)
        picture = Image.fromarray((np.asarray(picture) + pattern).clip(0, 255).round().astype(np.uint8))
    spread = Image.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Image.Dither.NONE
    return picture.quantize(colors=colours, palette=palette, dither=spread).convert("RGB")
