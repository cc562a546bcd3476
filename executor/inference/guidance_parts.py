"""Guidance by parts of the model's answers: along the data, by waves, with less noise. Hooks as packs write them.

Knows no sampler. Hooks take a step's dictionary; see executor.inference.guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from executor.inference.crossing import number_of
from executor.inference.guidance_rules import Hook

SidesHook: TypeAlias = Callable[[Mapping[str, Any]], list[Tensor]]
"""A function of a step's dictionary that answers with both sides before they are mixed."""

BOTH = 2


def along_shared(given: Mapping[str, Any]) -> list[Tensor]:
    """Both sides, the negative noise without what lies across the noise that both share (TCFG, arXiv:2503.18137).

    That direction is the first right singular vector of [positive; negative], picture by picture: what is left of the
    negative noise is its projection on it.
    """
    answers = list(given["conds_out"])
    if len(answers) < BOTH:
        return answers
    x = given["input"]
    sides = torch.stack([(x - answer).flatten(1) for answer in answers[:BOTH]], dim=1).double()  # [B, 2, N]
    # The singular vector of a matrix of two rows is their mix by the first eigenvector of their products.
    _, mixes = torch.linalg.eigh(sides @ sides.transpose(1, 2))  # eigenvalues rise
    first = (mixes[:, :, -1:].transpose(1, 2) @ sides).squeeze(1)  # [B, N]
    share = (sides[:, 1] * first).sum(dim=1) / first.square().sum(dim=1).clamp(min=torch.finfo(first.dtype).tiny)
    kept = (share[:, None] * first).reshape(x.shape).to(x)
    return [answers[0], x - kept, *answers[BOTH:]]


def operated(operation: Callable[[Tensor], Tensor]) -> SidesHook:
    """Both sides, the positive one so that guidance pushes by `operation` of their difference.

    A single side is given to the operation itself.
    """

    def change(given: Mapping[str, Any]) -> list[Tensor]:
        answers = list(given["conds_out"])
        if len(answers) < BOTH:
            return [operation(answer) for answer in answers]
        cond, uncond = answers[:BOTH]
        return [uncond + operation(cond - uncond), *answers[1:]]

    return change


class ProjectedGuidance:
    """Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416, alg. 1): a hook of both sides.

    What guidance adds is averaged over the steps (`momentum`), cut to a length (`norm_threshold`, 0: any) and weakened
    along the positive answer (`eta`). The sum starts from the positive answer and adds scale times the rest: recorded
    behaviour, numeric/guiders, cases apg and apg_momentum.
    """

    def __init__(self, eta: float, norm_threshold: float, momentum: float) -> None:
        self.eta, self.norm_threshold, self.momentum = eta, norm_threshold, momentum
        self._average: Tensor | float = 0.0
        self._sigma = 0.0

    def __call__(self, given: Mapping[str, Any]) -> list[Tensor]:
        """Both sides, the positive one so that plain guidance gives the projected one."""
        answers = list(given["conds_out"])
        if len(answers) < BOTH or not given["cond_scale"]:
            return answers
        cond, uncond = answers[:BOTH]
        added = self._shortened(self._averaged(cond - uncond, number_of(given["sigma"])))
        across, along = _parts(added, cond)
        return [uncond + (cond - uncond) / given["cond_scale"] + across + along * self.eta, *answers[1:]]

    def _averaged(self, push: Tensor, sigma: float) -> Tensor:
        """The push with what is left of those before; a noise level that does not fall begins another sampling."""
        if sigma >= self._sigma or (isinstance(self._average, Tensor) and self._average.shape != push.shape):
            self._average = 0.0
        self._sigma = sigma
        total = push + self._average * self.momentum
        self._average = total
        return total

    def _shortened(self, push: Tensor) -> Tensor:
        if self.norm_threshold <= 0:
            return push
        length = _lengths(push)
        return push * (self.norm_threshold / length.clamp(min=torch.finfo(push.dtype).tiny)).clamp(max=1.0)


def _parts(push: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
    """What of a push lies across and along the positive answer, picture by picture."""
    direction = (cond / _lengths(cond).clamp(min=torch.finfo(cond.dtype).tiny)).double()
    dims = tuple(range(1, push.ndim))
    along = ((push.double() * direction).sum(dim=dims, keepdim=True) * direction).to(push)
    return push - along, along


def _lengths(samples: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(samples, dim=tuple(range(1, samples.ndim)), keepdim=True)
    return lengths


def by_waves(scale_low: float, scale_high: float, cutoff: int) -> SidesHook:
    """Both sides, the positive one so that guidance pushes coarse and fine waves unequally (FreSca, arXiv:2504.02154).

    Coarse are the waves of fewer than `cutoff` periods along each side of the latent.
    """

    def change(given: Mapping[str, Any]) -> list[Tensor]:
        answers = list(given["conds_out"])
        if len(answers) < BOTH:
            return answers
        cond, uncond = answers[:BOTH]
        return [uncond + scaled_waves(cond - uncond, scale_low, scale_high, cutoff), *answers[1:]]

    return change


def scaled_waves(samples: Tensor, scale_low: float, scale_high: float, cutoff: int) -> Tensor:
    """[..., H, W] with waves below and from `cutoff` periods on scaled apart."""
    height, width = samples.shape[-2:]
    rows, columns = (torch.fft.fftfreq(size, 1 / size, device=samples.device).abs() for size in (height, width))
    coarse = (rows[:, None] < cutoff) & (columns[None, :] < cutoff)
    scales = torch.where(coarse, scale_low, scale_high)
    waves = torch.fft.fft2(samples.float()) * scales
    real: Tensor = torch.fft.ifft2(waves).real
    return real.to(samples.dtype)


def with_less_noise(factor: float) -> Hook:
    """The predicted noise divided by a factor, against noise that adds up (Ning et al. 2023, arXiv:2308.15321)."""

    def scale(given: Mapping[str, Any]) -> Tensor:
        x = given["input"]
        return cast(Tensor, x - (x - given["denoised"]) / factor)

    return scale
