"""When a hook is how strong: keyframes by share of the sampling. Knows no weights.

Class and attribute names are the ecosystem's (reference/custom_node_surface.md, comfy.hooks).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from executor.inference.crossing import number_of

logger = logging.getLogger("weft.inference")


class HasLevels(Protocol):
    """What tells the noise level of a share of the sampling: a MODEL or what lies behind it."""

    @property
    def model_sampling(self) -> Any:  # noqa: ANN401  (packs replace it)
        """Has `percent_to_sigma`."""
        ...


class HookKeyframe:
    """From a share of the sampling on, a strength."""

    def __init__(self, strength: float, start_percent: float = 0.0, guarantee_steps: int = 1) -> None:
        """`guarantee_steps`: noise levels that it holds for at least, even where the next one has begun already."""
        self.strength, self.start_percent, self.guarantee_steps = strength, float(start_percent), guarantee_steps
        self.start_t = math.inf  # the noise level it begins at, known once a sampling begins

    def get_effective_guarantee_steps(self, max_sigma: float) -> int:
        """Levels that it holds for at least in a sampling that starts at `max_sigma`: none if it began before that."""
        return 0 if self.start_t > max_sigma else self.guarantee_steps

    def clone(self) -> HookKeyframe:
        """The same keyframe, its level not known yet."""
        return HookKeyframe(self.strength, self.start_percent, self.guarantee_steps)


class HookKeyframeGroup:
    """Keyframes in the order of their starts, and which of them holds; the first one holds before its start too."""

    def __init__(self) -> None:
        self.keyframes: list[HookKeyframe] = []
        self.reset()

    @property
    def strength(self) -> float:
        """The strength at present; one without keyframes."""
        return self.keyframes[self._index].strength if self.keyframes else 1.0

    def strength_at(self, percent: float) -> float:
        """The strength at a share of the sampling, guarantees left aside."""
        begun = [each.strength for each in self.keyframes if each.start_percent <= percent]
        return (begun or [each.strength for each in self.keyframes[:1]] or [1.0])[-1]

    def is_empty(self) -> bool:
        """Whether there is no keyframe."""
        return not self.keyframes

    def add(self, keyframe: HookKeyframe) -> None:
        """Put a keyframe in its place; after others of the same start."""
        self.keyframes = sorted([*self.keyframes, keyframe], key=lambda each: each.start_percent)
        self.reset()

    def clone(self) -> HookKeyframeGroup:
        """The same keyframes, to be added to apart."""
        other = HookKeyframeGroup()
        other.keyframes = [each.clone() for each in self.keyframes]
        return other

    def reset(self) -> None:
        """Back to the first keyframe, for the next sampling."""
        self._index = 0  # of the keyframe that holds
        self._levels_held = 0
        self._level: float | None = None  # the last one that was asked for

    def initialize_timesteps(self, model: HasLevels) -> None:
        """Learn at which noise levels of a model the keyframes begin."""
        for keyframe in self.keyframes:
            keyframe.start_t = sigma_of(model.model_sampling.percent_to_sigma, keyframe.start_percent)

    def prepare_current_keyframe(
        self, curr_t: float | Tensor, transformer_options: Mapping[str, object] | None = None
    ) -> bool:
        """Go on to the keyframe that holds at a noise level; tells whether the strength changed.

        A level that is asked for again counts once. Keyframes never go back within a sampling.
        """
        sigma = number_of(curr_t) if isinstance(curr_t, Tensor) else curr_t
        if not self.keyframes or sigma == self._level:
            return False
        self._level, before = sigma, self.strength
        highest = first_level(transformer_options, sigma)
        while self._index + 1 < len(self.keyframes):
            guaranteed = self.keyframes[self._index].get_effective_guarantee_steps(highest)
            if self._levels_held < guaranteed or sigma > self.keyframes[self._index + 1].start_t:
                break
            self._index, self._levels_held = self._index + 1, 0
        self._levels_held += 1
        return self.strength != before


def sigma_of(percent_to_sigma: Callable[[float], object], percent: float) -> float:
    """The noise level of a share as schedules hold it, in float32, so that a span may begin exactly at a step."""
    return float(torch.tensor(float(cast(float, percent_to_sigma(percent))), dtype=torch.float32).item())


def first_level(options: Mapping[str, object] | None, otherwise: float) -> float:
    """The noise level that a sampling starts at."""
    levels = (options or {}).get("sample_sigmas")
    return float(levels.max().item()) if isinstance(levels, Tensor) and levels.numel() else otherwise


# ---------------------------------------------------------------- rows of keyframes

EASINGS: Mapping[str, Callable[[float], float]] = {
    "linear": lambda share: share,
    "ease_in": lambda share: share**2,
    "ease_out": lambda share: 1.0 - (1.0 - share) ** 2,
    "ease_in_out": lambda share: (1.0 - math.cos(math.pi * share)) / 2.0,
}
"""Ways from 0 to 1 by name."""


def evenly(start: float, end: float, count: int) -> list[float]:
    """Numbers from one to another, both included."""
    return [start + (end - start) * place / max(count - 1, 1) for place in range(count)]


def interpolated(start: float, end: float, count: int, easing: str) -> list[float]:
    """So many strengths from one to another."""
    return [start + (end - start) * EASINGS[easing](share) for share in evenly(0.0, 1.0, count)]


def with_row(
    before: HookKeyframeGroup | None, strengths: Sequence[float], start: float, end: float, *, told: bool = False
) -> HookKeyframeGroup:
    """Keyframes with more of them, evenly spread over a part of the sampling; logged when `told`.

    Only the first of the row is sure of a step: more keyframes than steps would else lag behind their times.
    """
    group = HookKeyframeGroup() if before is None else before.clone()
    for place, (strength, percent) in enumerate(zip(strengths, evenly(start, end, len(strengths)), strict=True)):
        group.add(HookKeyframe(strength, percent, guarantee_steps=1 if place == 0 else 0))
        if told:
            logger.info("hook keyframe at %.3f: strength %.4f", percent, strength)
    return group
