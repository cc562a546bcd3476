"""Answers of a model kept from step to step, for steps that would change them little (EasyCache, arXiv:2507.02860).

The paper's rule: while the model is evaluated, k = |v - v'| / |x - x'| tells how fast its answer v follows its input x
from one step to the next. Then k |x - x'| / |v| estimates by what share the next answer differs from the last one;
these shares are added up, and as long as their sum stays below a threshold the last evaluated change is used again.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from executor.inference.crossing import number_of

logger = logging.getLogger(__name__)

TINY = 1e-12


@dataclass(slots=True)
class Kept:
    """What is kept of the calls for one set of rows."""

    x: Tensor | None = None
    answer: Tensor | None = None
    change: Tensor | None = None  # what is used again: of the last evaluated call
    rate: float | None = None
    error: float = 0.0

    def grown_error(self, x: Tensor) -> float | None:
        """The summed error after a step to x, without an evaluation; None where nothing tells."""
        if self.x is None or self.answer is None or self.rate is None or self.x.shape != x.shape:
            return None
        moved = length(x - self.x)
        return self.error + self.rate * moved / max(length(self.answer), TINY)

    def evaluated(self, x: Tensor, answer: Tensor, change: Tensor) -> None:
        """Take in an evaluated call."""
        if self.x is not None and self.answer is not None and self.x.shape == x.shape:
            moved = length(x - self.x)
            self.rate = length(answer - self.answer) / moved if moved > TINY else None
        self.x, self.answer, self.change, self.error = x, answer, change, 0.0

    def reused(self, x: Tensor, answer: Tensor, error: float) -> None:
        """Take in a call that was answered without an evaluation."""
        self.x, self.answer, self.error = x, answer, error


def length(samples: Tensor) -> float:
    """The mean of the absolute values."""
    return float(samples.float().abs().mean())


@dataclass(kw_only=True)
class StepCache(ABC):
    """Reuses a model's answers within one sampling; `outer` empties it before and after."""

    threshold: float
    start_sigma: float
    end_sigma: float
    verbose: bool = False
    kept: dict[object, Kept] = field(default_factory=dict)
    calls: int = 0
    skipped: int = 0

    def acts(self, sigma: float) -> bool:
        """Whether answers are used again at this noise level."""
        return self.end_sigma <= sigma <= self.start_sigma

    def outer(self, executor: Callable[..., Tensor], *args: object, **kwargs: object) -> Tensor:
        """Stands around a whole sampling."""
        self._forget()
        try:
            return executor(*args, **kwargs)
        finally:
            if self.verbose:
                logger.info("%s: %d of %d calls were not evaluated", type(self).__name__, self.skipped, self.calls)
            self._forget()

    @abstractmethod
    def call(
        self, executor: Callable[..., Tensor], x: Tensor, times: Tensor, *args: object, **kwargs: object
    ) -> Tensor:
        """Stands around an evaluation of x [B, C, ...], at timesteps or sigmas [B]."""

    def _forget(self) -> None:
        self.kept.clear()
        self.calls = self.skipped = 0

    def _reusable(self, kept: Kept, x: Tensor, sigma: float) -> float | None:
        """The summed error with which the last change may be used again."""
        self.calls += 1
        error = kept.grown_error(x) if self.acts(sigma) else None
        if error is None or error >= self.threshold:
            return None
        self.skipped += 1
        return error


class NetworkCache(StepCache):
    """At the network's own input and output, each group of rows by itself: what is used again is output - input."""

    def call(
        self, executor: Callable[..., Tensor], x: Tensor, times: Tensor, *args: object, **kwargs: object
    ) -> Tensor:
        """Stands around a network's call with x [B, C, ...]; channels that are only seen have no output."""
        options = cast("Mapping[str, Any]", kwargs.get("transformer_options") or {})
        sigma = number_of(options["sigmas"]) if "sigmas" in options else float("inf")
        kept = self.kept.setdefault((*options.get("cond_or_uncond", ()), x.shape), Kept())
        error = self._reusable(kept, x, sigma)
        if error is not None and kept.change is not None:
            answer = x[:, : kept.change.shape[1]] + kept.change
            kept.reused(x, answer, error)
            return answer
        answer = executor(x, times, *args, **kwargs)
        kept.evaluated(x, answer, answer - x[:, : answer.shape[1]])
        return answer


class GuidedCache(StepCache):
    """At the guided answer: what is used again is its slope (x - denoised) / sigma, so both sides are left out."""

    def call(
        self, executor: Callable[..., Tensor], x: Tensor, times: Tensor, *args: object, **kwargs: object
    ) -> Tensor:
        """Stands around a guided evaluation of x [B, C, ...] at sigmas `times` [B]."""
        sigma = number_of(times)
        kept = self.kept.setdefault(x.shape, Kept())
        error = self._reusable(kept, x, sigma)
        if error is not None and kept.change is not None:
            kept.reused(x, kept.change, error)
            return x - kept.change * sigma
        denoised = executor(x, times, *args, **kwargs)
        slope = (x - denoised) / max(sigma, torch.finfo(torch.float32).tiny)
        kept.evaluated(x, slope, slope)
        return denoised
