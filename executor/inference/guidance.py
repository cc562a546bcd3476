"""Classifier-free guidance: positive and negative answers in few network calls, mixed; and its inpainting form.

Knows no sampler and no schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from executor import context as running
from executor.inference.conditions import Condition, conditions_of, with_room
from executor.inference.context_windows import HANDLER
from executor.inference.crossing import levels_like, number_of
from executor.inference.denoiser import ModelSampling
from executor.inference.handle_hooks import in_force, moved
from executor.inference.network_calls import NetworkCall, calls_for, runs_nothing_else
from executor.inference.samplers.base import Guided, Model
from executor.inference.seams import seam
from executor.inference.text_products import PRODUCTS
from executor.inference.wrappers import CALC_COND_BATCH, PREDICT_NOISE, around

Options = Mapping[str, object]
"""A MODEL's options, as packs set them."""

Sides = Sequence[Condition | Mapping[str, object]] | None
"""One side of the guidance: conditions, or dictionaries that packs made of them; the answer of None is zero."""

Part = tuple[Condition, Tensor]
"""A condition and the answer for it."""

GuidanceHook = Callable[[dict[str, object]], Tensor]
MaskFunction = Callable[[Tensor, Tensor, dict[str, object]], Tensor]

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
        self,
        x: Tensor,
        sigma: Tensor,
        *,
        context: Tensor,
        transformer_options: Mapping[str, object] | None = None,
        **conditions: object,
    ) -> Tensor:
        """The denoised latents of x [B, ...] at sigma [B] under context [B, T, C] and what else the network takes."""
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
        seed: int | None = None,
    ) -> None:
        self._model, self._cfg, self._seed = model, cfg, seed
        self._positive, self._negative = positive, negative
        self._options: Options = options if options is not None else {}

    @property
    def sampling(self) -> ModelSampling:
        """Noise levels and kind of path of the model."""
        return self._model.sampling

    # what packs that wrap a sampling, or bring a method, look at

    @property
    def inner_model(self) -> Denoiser:
        """What lies behind the MODEL."""
        return self._model

    @property
    def model_patcher(self) -> object:
        """The MODEL, where its network knows it."""
        return getattr(self._model, "current_patcher", None)

    @property
    def model_options(self) -> Options:
        """The MODEL's options for this sampling."""
        return self._options

    @property
    def cfg(self) -> float:
        """The scale."""
        return self._cfg

    @property
    def conds(self) -> dict[str, Sequence[Condition]]:
        """Both sides' conditions."""
        return {"positive": self._positive, "negative": self._negative}

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided denoised latent; at a scale of one the negative side is not evaluated."""
        levels = levels_like(x, sigma)
        predict = around(PREDICT_NOISE, self._options, self._predict, self)
        return cast(Tensor, predict(x, levels, self._options, self._seed))

    def both(self, x: Tensor, sigma: float) -> Guided:
        """The guided denoised latent and the unconditional one."""
        levels = levels_like(x, sigma)
        sides = (self._positive, self._negative)
        return guided(self._model, x, levels, *sides, self._cfg, self._options, one_sided=False)

    def _predict(
        self, x: Tensor, timestep: Tensor, model_options: Options | None = None, seed: int | None = None
    ) -> Tensor:
        options = self._options if model_options is None else model_options
        return sampling_function(
            self._model, x, timestep, self._negative, self._positive, self._cfg, options, seed=seed
        )


@seam("samplers.sampling_function")
def sampling_function(
    model: Denoiser,
    x: Tensor,
    timestep: Tensor,
    uncond: Sequence[Condition] | None,
    cond: Sequence[Condition],
    cond_scale: float,
    model_options: Options | None = None,
    seed: int | None = None,
) -> Tensor:
    """The guided denoised latents of x at sigmas `timestep` [B]; at a scale of one the negative side is left out."""
    options: Options = model_options or {}
    one_sided = math.isclose(cond_scale, 1.0) and not options.get("disable_cfg1_optimization")
    return guided(model, x, timestep, cond, uncond, cond_scale, options, one_sided=one_sided).denoised


def guided(
    model: Denoiser,
    x: Tensor,
    levels: Tensor,
    positive: Sequence[Condition],
    negative: Sequence[Condition] | None,
    cfg: float,
    options: Options,
    *,
    one_sided: bool,
) -> Guided:
    """Both sides' answers for x at sigmas [B], mixed as the options say, and the unconditional one."""
    sides: list[Sequence[Condition] | None] = [positive, None if one_sided else negative]
    answers = _answers(model, sides, x, levels, options)
    arguments: dict[str, object] = {
        "input": x,
        "sigma": levels,
        "timestep": levels,
        "cond_scale": cfg,
        "model": model,
        "model_options": options,
    }
    for hook in _hooks(options, "sampler_pre_cfg_function"):
        changed = hook({**arguments, "conds_out": answers, "conds": sides})
        answers = list(cast("Iterable[Tensor]", changed))
    cond = answers[POSITIVE]
    uncond = cond if one_sided and len(answers) <= NEGATIVE else answers[NEGATIVE]
    mixed = _mixed(cond, uncond, cfg, options, arguments)
    for hook in _hooks(options, "sampler_post_cfg_function"):
        given = {**arguments, "cond": positive, "uncond": negative, "denoised": mixed}
        mixed = hook({**given, "cond_denoised": cond, "uncond_denoised": uncond})
    return Guided(mixed, uncond)


def corrected(mixed: Tensor, x: Tensor, levels: Tensor, options: Options, given: Mapping[str, object]) -> Tensor:
    """Answers mixed for x [B, ...] at sigmas [B], after the functions that packs want called then with `given`."""
    arguments = {**given, "input": x, "sigma": levels, "timestep": levels, "model_options": options}
    for hook in _hooks(options, "sampler_post_cfg_function"):
        mixed = hook({**arguments, "denoised": mixed})
    return mixed


def _answers(
    model: Denoiser, sides: list[Sequence[Condition] | None], x: Tensor, levels: Tensor, options: Options
) -> list[Tensor]:
    own = options.get("sampler_calc_cond_batch_function")
    if callable(own):
        given = {"conds": sides, "input": x, "sigma": levels, "model": model, "model_options": options}
        return list(own(given))
    return calc_cond_batch(model, [side for side in sides if side is not None], x, levels, options)


def _mixed(cond: Tensor, uncond: Tensor, cfg: float, options: Options, arguments: dict[str, object]) -> Tensor:
    own = options.get("sampler_cfg_function")
    if callable(own):
        x = cast(Tensor, arguments["input"])
        given = {**arguments, "cond": x - cond, "uncond": x - uncond}
        return x - cast(Tensor, own({**given, "cond_denoised": cond, "uncond_denoised": uncond}))
    return cond if uncond is cond else uncond + (cond - uncond) * cfg


def _hooks(options: Options, name: str) -> list[GuidanceHook]:
    return cast("list[GuidanceHook]", options.get(name) or [])


def calc_cond_batch(
    model: Denoiser, conds: Sequence[Sides], x_in: Tensor, timestep: Tensor, model_options: Options
) -> list[Tensor]:
    """`answer` at sigmas `timestep` [B], all the same, with the functions around it that packs put there.

    Latents longer than the options' context windows are answered window by window.
    """
    windows = cast(Any, model_options.get(HANDLER))
    given = (model, [conditions_of(side) for side in conds], x_in, timestep, model_options)
    if windows is not None and windows.should_use_context(*given):
        return cast("list[Tensor]", windows.execute(_whole, *given))
    return _whole(*given)


def _whole(
    model: Denoiser, conds: Sequence[Sequence[Condition]], x_in: Tensor, timestep: Tensor, model_options: Options
) -> list[Tensor]:
    inner = around(CALC_COND_BATCH, model_options, _calc_cond_batch)
    return cast("list[Tensor]", inner(model, conds, x_in, timestep, model_options))


def _calc_cond_batch(
    model: Denoiser, conds: Sequence[Sides], x_in: Tensor, timestep: Tensor, model_options: Options
) -> list[Tensor]:
    patcher = getattr(model, "current_patcher", None)
    if patcher is not None:
        patcher.prepare_state(timestep)
    sides = [conditions_of(side) for side in conds]
    return answer(model, sides, x_in, number_of(timestep), model_options)


def answer(
    model: Denoiser, sides: Sequence[Sequence[Condition]], x: Tensor, sigma: float, options: Options
) -> list[Tensor]:
    """The answer of each side (a list of conditions) for x [B, C, H, W]: its conditions' answers, weighted by cell.

    Conditions with crops of one size share a network call, if they are under the same hooks.
    """
    moved(model, sigma, options)
    present = [with_room([each for each in conditions if each.active(sigma)], x) for conditions in sides]
    active = [(side, each) for side, conditions in enumerate(present) for each in conditions]
    parts: list[list[Part]] = [[] for _ in sides]
    alone = runs_nothing_else(options)  # a pack may keep what it answered, and write into what it is given
    for call in calls_for(active, x, options if alone else {}):
        hooked = in_force(model, call.group[0][1].hooks, options)
        for (side, condition), denoised in zip(call.group, _called(model, call, x, sigma, hooked), strict=True):
            parts[side].append((condition, denoised))
    return [_weighed(answers, x, as_they_are=alone) for answers in parts]


def _weighed(parts: Sequence[Part], x: Tensor, *, as_they_are: bool) -> Tensor:
    """One side's answer: those of its conditions for x [B, C, H, W], weighted by cell."""
    if as_they_are and len(parts) == 1:
        condition, denoised = parts[0]
        if condition.is_whole and denoised.shape == x.shape and denoised.dtype == x.dtype:
            return denoised  # the sums below would be the same numbers
    total, weights = torch.zeros_like(x), torch.full_like(x, NO_WEIGHT)
    for condition, denoised in parts:
        weight = condition.weight(x)
        condition.crop(total).add_(denoised * weight)
        condition.crop(weights).add_(weight)
    return total / weights


def _called(model: Denoiser, call: NetworkCall, x: Tensor, sigma: float, options: Options) -> list[Tensor]:
    """The answer for each condition of a call."""
    latents = call.latents(x)
    levels = levels_like(latents, sigma)
    given = cast("Mapping[str, object]", options.get("transformer_options") or {})
    transformer_options = {**given, "cond_or_uncond": call.sides, "sigmas": levels}
    if call.products is not None:
        transformer_options[PRODUCTS] = call.products
    conditions: dict[str, object] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in call.extras.items()
    }
    control = call.group[0][1].control
    if control is not None:
        seen = {**conditions, "c_crossattn": call.context, "transformer_options": transformer_options}
        seen |= call.control_texts(x)
        conditions["control"] = control.get_control(latents, levels, seen, len(call.group), transformer_options)
    denoised = _network(model, options, latents, levels, call.context, transformer_options, conditions)
    rows = x.shape[0]
    return [denoised[place * rows : (place + 1) * rows] for place in range(len(call.group))]


def _network(
    model: Denoiser,
    options: Options,
    latents: Tensor,
    levels: Tensor,
    context: Tensor,
    transformer_options: dict[str, object],
    conditions: dict[str, object],
) -> Tensor:
    """One network call, by the function that a pack put around it where there is one."""
    running.current().check_interrupt()
    own = options.get("model_function_wrapper")
    if not callable(own):
        return model.apply(latents, levels, context=context, transformer_options=transformer_options, **conditions)
    arguments = {"c_crossattn": context, "transformer_options": transformer_options, **conditions}
    which = transformer_options["cond_or_uncond"]
    given = {"input": latents, "timestep": levels, "c": arguments, "cond_or_uncond": which}
    return cast(Tensor, own(cast(Any, model).apply_model, given))


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
