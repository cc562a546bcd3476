"""Long batches and videos evaluated in windows that overlap, their answers fused at every noise level.

A network that was trained on few frames sees no more than that at once (as with AnimateDiff, Guo et al. 2023,
arXiv:2307.04725; fusing windows at every step is MultiDiffusion, Bar-Tal et al. 2023, arXiv:2302.08113). Knows no
network and no guidance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.conditions import Condition
from executor.inference.control import Control, Window
from executor.inference.crossing import number_of, sent_like, with_number

Options: TypeAlias = Mapping[str, object]
Sides: TypeAlias = Sequence[Sequence[Condition]]
Answer: TypeAlias = Callable[[object, Sides, Tensor, Tensor, Options], list[Tensor]]
"""Answers each side for latents at sigmas [B]: executor.inference.guidance.calc_cond_batch."""

HANDLER = "context_handler"
"""What a MODEL's options hold windows under."""

FRAMES = "num_video_frames"
"""What networks are told the number of frames under."""

SPATIAL = 2  # the last dimensions of latents
CHANNELS = 1
VIDEO = 5  # dimensions of latents of videos
LEAST_RELATIVE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextWindows:
    """How a dimension of latents is cut into windows, and how their answers are weighted."""

    length: int
    overlap: int = 4
    schedule: str = "standard_static"
    stride: int = 1  # of the uniform schedules: how many powers of two frames are skipped by
    closed_loop: bool = False  # of the looped schedule: whether end and start overlap as neighbours do
    fuse_method: str = "pyramid"
    dim: int = 0

    def should_use_context(
        self, model: object, conds: Sides, x_in: Tensor, timestep: Tensor, model_options: Options
    ) -> bool:
        """Whether latents are longer than one window; NodeInputError when they cannot be cut along the dimension."""
        if self.dim >= x_in.ndim or self.dim == CHANNELS:
            reason = f"context windows cannot be cut along dimension {self.dim} of latents {list(x_in.shape)}"
            raise NodeInputError(f"{reason}: take 0 for the batch, or 2 for the frames of a video")
        return x_in.shape[self.dim] > self.length

    def execute(
        self, answer: Answer, model: object, conds: Sides, x_in: Tensor, timestep: Tensor, model_options: Options
    ) -> list[Tensor]:
        """Each side's answer for the whole latents, fused of its answers for windows."""
        count = x_in.shape[self.dim]
        inner = cast(Options, model_options.get("transformer_options") or {})
        windows = self.windows(count, step_of(timestep, inner))
        shares = fused(windows, [self.weights(window, count) for window in windows], count)
        sums = [torch.zeros_like(x_in) for _ in conds]
        for indices, share in zip(windows, shares, strict=True):
            window = Window(dim=self.dim, indices=tuple(indices), count=count)
            sides = [[cut(each, window, x_in) for each in side] for side in conds]
            options = {**model_options, "transformer_options": {**inner, "context_window": window}}
            levels = with_number(window.rows(timestep), timestep) if self.dim == 0 else timestep
            with windowed(sides, window):
                answers = answer(model, sides, window.part(x_in), levels, options)
            weight = sent_like(share, x_in).reshape(-1, *(1 for _ in x_in.shape[self.dim + 1 :]))
            for total, each in zip(sums, answers, strict=True):
                total.index_add_(self.dim, window.places(x_in.device), each * weight)
        return sums

    def largest(self, shape: torch.Size) -> torch.Size:
        """The shape of the latents [B, ...] that are evaluated at once at most."""
        if self.dim >= len(shape):
            return shape
        return torch.Size((*shape[: self.dim], min(shape[self.dim], self.length), *shape[self.dim + 1 :]))

    def windows(self, count: int, step: int = 0) -> list[list[int]]:
        """The places of each window among `count`, every place in at least one; uniform ones move with the step."""
        length = min(self.length, count)
        overlap = min(self.overlap, length - 1)
        match self.schedule:
            case "batched":
                return [list(range(start, min(start + length, count))) for start in range(0, count, length)]
            case "looped_uniform":
                return list(uniform(count, length, overlap, self.stride, step, closed=self.closed_loop))
            case "standard_uniform":
                found = uniform(count, length, overlap, self.stride, step, closed=False)
                straight = chain.from_iterable(unrolled(window, count) for window in found)
                return [list(window) for window in dict.fromkeys(tuple(window) for window in straight)]
            case _:
                starts = [*range(0, count - length, length - overlap), count - length]
                return [list(range(start, start + length)) for start in starts]

    def weights(self, window: Sequence[int], count: int) -> list[float]:
        """How much each place of a window counts beside the same place in other windows; above zero throughout."""
        length = len(window)
        match self.fuse_method:
            case "flat":
                return [1.0] * length
            case "relative":  # by the distance from the window's middle
                middle = length / 2
                return [max(LEAST_RELATIVE, 1.0 - abs(place + 0.5 - middle) / middle) for place in range(length)]
            case "overlap-linear":
                looped, overlap = self.schedule == "looped_uniform", min(self.overlap, length - 1)
                rise = overlap if looped or window[0] > 0 else 0
                fall = overlap if looped or window[-1] < count - 1 else 0
                return [
                    min(1.0, (place + 1) / (rise + 1) if rise else 1.0, (length - place) / (fall + 1) if fall else 1.0)
                    for place in range(length)
                ]
            case _:  # a pyramid
                return [float(min(place + 1, length - place)) for place in range(length)]


def uniform(
    count: int, length: int, overlap: int, stride: int, step: int, *, closed: bool
) -> Iterator[list[int]]:  # fmt: skip
    """Windows around a circle of places, begun elsewhere at every step, with each power of two as the way between.

    Skipping ones reach over more of the circle; none meets a place twice.
    """
    shift = round(count * radical_inverse(step))
    gap = 1
    for _ in range(stride):
        if (length - 1) * gap >= count:
            break
        past = count if closed else count - overlap
        for start in range(shift, shift + max(past, 1), max(1, length * gap - overlap)):
            yield [(start + place * gap) % count for place in range(length)]
        gap *= 2


def unrolled(window: Sequence[int], count: int) -> list[list[int]]:
    """A window that goes over the end as two that do not: one up to the end, one from the start."""
    gap = (window[1] - window[0]) % count if len(window) > 1 else 1
    reach = (len(window) - 1) * gap
    if window[0] + reach < count:
        return [list(window)]
    first = min(next(place for place in window if place < window[0]), count - 1 - reach)
    last = count - 1 - reach
    return [[start + place * gap for place in range(len(window))] for start in (last, first)]


def radical_inverse(number: int) -> float:
    """The binary digits of a number mirrored at the point: 0, 1/2, 1/4, 3/4, 1/8 … (van der Corput 1935)."""
    share, weight = 0.0, 0.5
    while number:
        share, weight, number = share + weight * (number & 1), weight / 2, number >> 1
    return share


def step_of(timestep: Tensor, options: Options) -> int:
    """Which of a sampling's noise levels is nearest; the first when they are not known."""
    levels = options.get("sample_sigmas")
    if not isinstance(levels, Tensor) or levels.numel() == 0:
        return 0
    return int((levels.float().cpu() - number_of(timestep)).abs().argmin().item())


def fused(windows: Sequence[Sequence[int]], weights: Sequence[Sequence[float]], count: int) -> list[Tensor]:
    """Each window's weights as shares, float64: those of a place come to one over all windows."""
    totals = [0.0] * count
    for window, held in zip(windows, weights, strict=True):
        for place, weight in zip(window, held, strict=True):
            totals[place] += weight
    return [
        torch.tensor([weight / totals[place] for place, weight in zip(window, held, strict=True)], dtype=torch.float64)
        for window, held in zip(windows, weights, strict=True)
    ]


def cut(condition: Condition, window: Window, x: Tensor) -> Condition:
    """A condition for latents x [B, C, ..., H, W] as one for a window of them."""
    extras = {name: of_window(name, value, window, x) for name, value in condition.extras.items()}
    if window.dim == 0:
        mask = condition.mask if condition.mask is None else window.rows(condition.mask)
        return replace(condition, context=window.rows(condition.context), mask=mask, extras=extras)
    mask = condition.mask
    if window.dim >= x.ndim - SPATIAL:
        condition = without_area(condition, x)
        mask = condition.mask
        if mask is not None:  # [B, H, W]
            mask = mask.index_select(window.dim - x.ndim, window.places(mask.device))
    return replace(condition, mask=mask, extras=extras)


def of_window(name: str, value: object, window: Window, x: Tensor) -> Any:  # noqa: ANN401  (what networks take is theirs)
    """What a network takes beside latents x, for a window; one that mixes frames is told how many there are."""
    if isinstance(value, Tensor):
        return window.rows(value) if window.dim == 0 else window.like(value, x)
    if isinstance(value, tuple) and window.dim == 0:
        return tuple(window.rows(each) for each in value)
    if isinstance(value, tuple) and x.ndim == VIDEO:
        return tuple(window.like(each, x) for each in value)
    return len(window.indices) if name == FRAMES and window.dim == 0 else value


def without_area(condition: Condition, x: Tensor) -> Condition:
    """A condition for an area as one for the whole picture with a mask of the area's weights."""
    if condition.area is None:
        return condition
    weight = condition.weight(x)
    plane = x.new_zeros(weight.shape[0], 1, *x.shape[-SPATIAL:])
    condition.crop(plane).add_(weight)
    return replace(condition, area=None, mask=plane[:, 0], mask_strength=1.0, strength=1.0)


@contextmanager
def windowed(sides: Sides, window: Window) -> Iterator[None]:
    """The controls of all conditions following the part of their pictures that a window sees."""
    controls: list[Control] = []
    for control in dict.fromkeys(each.control for side in sides for each in side if each.control is not None):
        link: Control | None = control
        while link is not None:
            controls.append(link)
            link = link.previous_controlnet
    before = [getattr(control, "window", None) for control in controls]
    for control in controls:
        control.window = window
    try:
        yield
    finally:
        for control, held in zip(controls, before, strict=True):
            control.window = held


def latent_frames(frames: int, frames_per_latent: int = 4) -> int:
    """The latent frames of a video of so many frames: one for the first, then one for each few."""
    return max(0, math.floor((frames - 1) / frames_per_latent) + 1)
