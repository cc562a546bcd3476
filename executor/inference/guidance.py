"""Classifier-free guidance: positive and negative answers in few network calls, mixed; and its inpainting form.

Knows no sampler and no schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from executor.inference.conditions import Condition
from executor.inference.denoiser import ModelSampling
from executor.inference.samplers.base import Guided, Model

Options = Mapping[str, object]
"""A MODEL's options, as packs set them."""

GuidanceHook = Callable[[dict[str, object]], Tensor]
MaskFunction = Callable[[Tensor, Tensor, dict[str, object]], Tensor]

# Embeddings of different lengths share a call when repeating each to the common multiple costs at most this much.
LONGEST_REPEAT = 4
# Keeps cells that no condition covers finite: their answer is zero.
NO_WEIGHT = 1e-37
POSITIVE, NEGATIVE = 0, 1


class Denoiser(Protocol):
    """What guidance calls: a network that answers with denoised latents."""

    @property
    def sampling(self) -> ModelSampling:
        """Noise levels and prediction type."""
        ...

    def apply(
        self, x: Tensor, sigma: Tensor, *, context: Tensor, transformer_options: Mapping[str, object] | None = None
    ) -> Tensor:
        """The denoised latents of x [B, ...] at sigma [B] under context [B, T, C]."""
        ...


class Guider:
    """A guided model: uncond + cfg * (cond - uncond) (Ho & Salimans 2022, arXiv:2207.12598)."""

    def __init__(
        self,
        model: Denoiser,
        positive: Sequence[Condition],
        negative: Sequence[Condition],
        cfg: float,
        options: Options | None = None,
    ) -> None:
        self._model, self._cfg = model, cfg
        self._positive, self._negative = positive, negative
        self._options = options or {}

    @property
    def sampling(self) -> ModelSampling:
        """Noise levels and kind of path of the model."""
        return self._model.sampling

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided denoised latent; at a scale of one the negative side is not evaluated."""
        one_sided = math.isclose(self._cfg, 1.0) and not self._options.get("disable_cfg1_optimization")
        return self._guided(x, sigma, one_sided=one_sided).denoised

    def both(self, x: Tensor, sigma: float) -> Guided:
        """The guided denoised latent and the unconditional one."""
        return self._guided(x, sigma, one_sided=False)

    def _guided(self, x: Tensor, sigma: float, *, one_sided: bool) -> Guided:
        sides = [self._positive] if one_sided else [self._positive, self._negative]
        answers = answer(self._model, sides, x, sigma, self._options)
        arguments = self._hook_arguments(x, sigma)
        for hook in self._hooks("sampler_pre_cfg_function"):
            changed = hook({**arguments, "conds_out": answers, "conds": sides})
            answers = list(cast("Iterable[Tensor]", changed))
        cond = answers[POSITIVE]
        uncond = cond if one_sided else answers[NEGATIVE]
        own = self._options.get("sampler_cfg_function")
        if callable(own):
            given = {**arguments, "cond": x - cond, "uncond": x - uncond}
            mixed = x - own({**given, "cond_denoised": cond, "uncond_denoised": uncond})
        else:
            mixed = cond if one_sided else uncond + (cond - uncond) * self._cfg
        for hook in self._hooks("sampler_post_cfg_function"):
            mixed = hook({**arguments, "denoised": mixed, "cond_denoised": cond, "uncond_denoised": uncond})
        return Guided(mixed, uncond)

    def _hooks(self, name: str) -> list[GuidanceHook]:
        return cast("list[GuidanceHook]", self._options.get(name) or [])

    def _hook_arguments(self, x: Tensor, sigma: float) -> dict[str, object]:
        levels = x.new_full((x.shape[0],), sigma)
        return {
            "input": x,
            "sigma": levels,
            "timestep": levels,
            "cond_scale": self._cfg,
            "model": self._model,
            "model_options": self._options,
        }


def answer(
    model: Denoiser, sides: Sequence[Sequence[Condition]], x: Tensor, sigma: float, options: Options
) -> list[Tensor]:
    """The answer of each side (a list of conditions) for x [B, C, H, W]: its conditions' answers, weighted by cell.

    Conditions with crops of one size share a network call.
    """
    sums = [torch.zeros_like(x) for _ in sides]
    weights = [torch.full_like(x, NO_WEIGHT) for _ in sides]
    active = [(side, each) for side, conditions in enumerate(sides) for each in conditions if each.active(sigma)]
    for group in _groups(active, x):
        for (side, condition), denoised in zip(group, _call(model, group, x, sigma, options), strict=True):
            weight = condition.weight(x)
            condition.crop(sums[side]).add_(denoised * weight)
            condition.crop(weights[side]).add_(weight)
    return [total / weight for total, weight in zip(sums, weights, strict=True)]


def _groups(active: Sequence[tuple[int, Condition]], x: Tensor) -> list[list[tuple[int, Condition]]]:
    """Conditions that fit into one network call: crops of one size, embeddings of one width and like lengths."""
    groups: list[list[tuple[int, Condition]]] = []
    for side, condition in active:
        for group in groups:
            if _fits(condition, [each for _, each in group], x):
                group.append((side, condition))
                break
        else:
            groups.append([(side, condition)])
    return groups


def _fits(condition: Condition, others: Sequence[Condition], x: Tensor) -> bool:
    if condition.crop(x).shape != others[0].crop(x).shape:
        return False
    if condition.context.shape[-1] != others[0].context.shape[-1]:
        return False
    lengths = {condition.context.shape[1], *(other.context.shape[1] for other in others)}
    return math.lcm(*lengths) <= LONGEST_REPEAT * min(lengths)


def _call(
    model: Denoiser, group: Sequence[tuple[int, Condition]], x: Tensor, sigma: float, options: Options
) -> list[Tensor]:
    rows = x.shape[0]
    length = math.lcm(*(condition.context.shape[1] for _, condition in group))
    latents = torch.cat([condition.crop(x) for _, condition in group])
    contexts = torch.cat([_context(condition, rows, length).to(x.device) for _, condition in group])
    levels = x.new_full((len(latents),), sigma)
    given = cast("Mapping[str, object]", options.get("transformer_options") or {})
    transformer_options = {**given, "cond_or_uncond": [side for side, _ in group], "sigmas": levels}
    denoised = model.apply(latents, levels, context=contexts, transformer_options=transformer_options)
    return [denoised[place * rows : (place + 1) * rows] for place in range(len(group))]


def _context(condition: Condition, rows: int, length: int) -> Tensor:
    """The embedding for every row; repeating tokens leaves cross-attention as it is."""
    context = condition.context
    copies = math.ceil(rows / context.shape[0])
    return context.repeat(copies, length // context.shape[1], 1)[:rows]


class Inpainting:
    """A guided model that redraws only where a mask is set: the rest is put back before and after each call."""

    def __init__(
        self, inner: Model, mask: Tensor, latent: Tensor, noise: Tensor, mask_at: Callable[[float], Tensor] | None
    ) -> None:
        """`mask` [B, 1, H, W], 1 where to redraw; `mask_at` gives another one per noise level."""
        self._inner, self._latent, self._noise = inner, latent, noise
        self._mask_at = mask_at or (lambda sigma: mask)

    @property
    def sampling(self) -> ModelSampling:
        """Noise levels and kind of path of the model."""
        return self._inner.sampling

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided denoised latent with the kept part in place."""
        mask = self._mask_at(sigma)
        return self._outside_kept(self._inner(self._with_kept(x, sigma, mask), sigma), mask)

    def both(self, x: Tensor, sigma: float) -> Guided:
        """The same with the unconditional answer as it is."""
        mask = self._mask_at(sigma)
        denoised, unconditional = self._inner.both(self._with_kept(x, sigma, mask), sigma)
        return Guided(self._outside_kept(denoised, mask), unconditional)

    def _with_kept(self, x: Tensor, sigma: float, mask: Tensor) -> Tensor:
        kept = self.sampling.noise_scaling(sigma, self._noise, self._latent)
        return x * mask + kept * (1 - mask)

    def _outside_kept(self, denoised: Tensor, mask: Tensor) -> Tensor:
        return denoised * mask + self._latent * (1 - mask)
