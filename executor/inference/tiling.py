"""A large tensor worked on in overlapping tiles that fade into each other. Knows not what is done with a tile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from executor.errors import NodeInputError

Lengths = Callable[[float], float] | float


class Steps(Protocol):
    """What counts tiles."""

    def update(self, value: float) -> None:
        """So many more are done."""
        ...


def get_tiled_scale_steps(width: int, height: int, tile_x: int, tile_y: int, overlap: int) -> int:
    """How many tiles a picture is cut into."""
    rows = 1 if height <= tile_y else math.ceil((height - overlap) / (tile_y - overlap))
    columns = 1 if width <= tile_x else math.ceil((width - overlap) / (tile_x - overlap))
    return rows * columns


def tiled_scale(
    samples: Tensor, function: Callable[[Tensor], Tensor], tile_x: int = 64, tile_y: int = 64, overlap: int = 8,
    upscale_amount: float = 4, out_channels: int = 3, output_device: torch.device | str = "cpu",
    pbar: Steps | None = None,
) -> Tensor:  # fmt: skip
    """`tiled_scale_multidim` of [B, C, H, W]."""
    return tiled_scale_multidim(
        samples,
        function,
        (tile_y, tile_x),
        overlap=overlap,
        upscale_amount=upscale_amount,
        out_channels=out_channels,
        output_device=output_device,
        pbar=pbar,
    )


@torch.inference_mode()
def tiled_scale_multidim(
    samples: Tensor, function: Callable[[Tensor], Tensor], tile: Sequence[int] = (64, 64),
    overlap: int | Sequence[int] = 8, upscale_amount: Lengths | Sequence[Lengths] = 4, out_channels: int = 3,
    output_device: torch.device | str = "cpu", downscale: bool = False,
    index_formulas: Lengths | Sequence[Lengths] | None = None, pbar: Steps | None = None,
) -> Tensor:  # fmt: skip
    """`function` of each tile of [B, C, ...], put together [B, out_channels, ...] and faded where tiles overlap.

    `upscale_amount` says how lengths grow (or, with `downscale`, shrink), as a factor or a function, one for all
    dimensions or one each; `index_formulas` does so for where a tile begins.
    """
    dims = len(tile)
    overlaps = list(overlap) if isinstance(overlap, Sequence) else [overlap] * dims
    lengths = [_scaling(each, downscale) for each in _each(upscale_amount, dims)]
    starts = lengths if index_formulas is None else [_scaling(each, downscale) for each in _each(index_formulas, dims)]
    shape = [round(lengths[dim](samples.shape[dim + 2])) for dim in range(dims)]
    output = torch.empty((samples.shape[0], out_channels, *shape), device=output_device)
    for index in range(samples.shape[0]):
        one = samples[index : index + 1]
        total, weight = torch.zeros_like(output[:1]), torch.zeros_like(output[:1])
        for place in itertools.product(*_places(one.shape[2:], tile, overlaps)):
            done = function(one[_window(place, tile)]).to(output_device)
            begin = [round(starts[dim](at)) for dim, at in enumerate(place)]
            fades = [round(lengths[dim](overlaps[dim])) for dim in range(dims)]
            mask = _fade(done, fades)
            window = _window(begin, done.shape[2:])
            total[window] += done * mask
            weight[window] += mask
            if pbar is not None:
                pbar.update(1)
        output[index : index + 1] = total / weight
    return output


def _window(place: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    """The part of a tensor [B, C, ...] that begins at a place."""
    return (slice(None), slice(None), *(slice(at, at + length) for at, length in zip(place, size, strict=True)))


def _each(value: Lengths | Sequence[Lengths], dims: int) -> list[Lengths]:
    return list(value) if isinstance(value, Sequence) else [value] * dims


def _scaling(amount: Lengths, downscale: bool) -> Callable[[float], float]:
    if callable(amount):
        return amount
    return (lambda length: length / amount) if downscale else (lambda length: length * amount)


def _places(shape: Sequence[int], tile: Sequence[int], overlaps: Sequence[int]) -> list[list[int]]:
    """Where tiles begin in each dimension; the last ones are cut at the edge.

    Raises NodeInputError for several tiles that would all begin at one place.
    """
    places = []
    for length, size, overlap in zip(shape, tile, overlaps, strict=True):
        if length <= size:
            places.append([0])
        elif overlap >= size:
            raise NodeInputError(
                f"tiles of {size} cannot overlap by {overlap}: choose larger tiles or a smaller overlap"
            )
        else:
            places.append(list(range(0, length - overlap, size - overlap)))
    return places


def _fade(done: Tensor, fades: Sequence[int]) -> Tensor:
    """Weights of a tile [1, 1, ...]: one inside, rising in equal steps over the overlap at every edge.

    At the picture's own edges the weights cancel, but for a last tile that is narrower than two overlaps (recorded
    behaviour: numeric/ops_mask, case tiled_scale/20x30_t16x16_o4).
    """
    mask = torch.ones_like(done[:1, :1])
    for dim, fade in enumerate(fades):
        length = done.shape[dim + 2]
        if not 0 < fade < length:
            continue
        line = torch.ones(length, dtype=done.dtype, device=done.device)
        ramp = torch.arange(1, fade + 1, dtype=done.dtype, device=done.device) / fade
        line[:fade] *= ramp
        line[length - fade :] *= ramp.flip(0)
        mask = mask * line.reshape([-1 if each == dim + 2 else 1 for each in range(done.ndim)])
    return mask
