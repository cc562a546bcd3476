"""Classifier-free guidance: positive and negative answers in few network calls, mixed; and its inpainting form.

Knows no sampler and no schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor

from executor import context as running
from executor.inference.condition_values import LONGEST_REPEAT
from executor.inference.conditions import CONTROL_TEXT, Condition, conditions_of, with_room
from executor.inference.context_windows import HANDLER
from executor.inference.crossing import levels_like, number_of, sent
from executor.inference.denoiser import ModelSampling
from executor.inference.handle_hooks import in_force, moved
from executor.inference.samplers.base import Guided, Model
from executor.inference.seams import seam
from executor.inference.wrappers import CALC_COND_BATCH, PREDICT_NOISE, WrapperExecutor, functions

if TYPE_CHECKING:
    from executor.inference.conditioning_hooks import Key

Options = Mapping[str, object]
"""A MODEL's options, as packs set them."""

Sides = Sequence[Condition | Mapping[str, object]] | None
"""One side of the guidance: conditions, or dictionaries that packs made of them; the answer of None is zero."""

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
        predict = WrapperExecutor.new_class_executor(self._predict, self, functions(PREDICT_NOISE, self._options))
        return cast(Tensor, predict.execute(x, levels, self._options, self._seed))

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
    inner = WrapperExecutor.new_executor(_calc_cond_batch, functions(CALC_COND_BATCH, model_options))
    return cast("list[Tensor]", inner.execute(model, conds, x_in, timestep, model_options))


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
    sums = [torch.zeros_like(x) for _ in sides]
    weights = [torch.full_like(x, NO_WEIGHT) for _ in sides]
    present = [with_room([each for each in conditions if each.active(sigma)], x) for conditions in sides]
    active = [(side, each) for side, conditions in enumerate(present) for each in conditions]
    for group in _groups(active, x):
        hooked = in_force(model, group[0][1].hooks, options)
        for (side, condition), denoised in zip(group, _call(model, group, x, sigma, hooked), strict=True):
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
    keys = list(dict.fromkeys(hook_key(condition) for _, condition in active))
    return sorted(groups, key=lambda group: keys.index(hook_key(group[0][1])))  # weights change as seldom as can be


def hook_key(condition: Condition) -> Key:
    """What tells the hooks of a condition from other ones'."""
    return () if condition.hooks is None else condition.hooks.key()


def _fits(condition: Condition, others: Sequence[Condition], x: Tensor) -> bool:
    if condition.crop(x).shape != others[0].crop(x).shape:
        return False
    if condition.context.shape[-1] != others[0].context.shape[-1] or condition.control is not others[0].control:
        return False
    if extra_shapes(condition) != extra_shapes(others[0]) or hook_key(condition) != hook_key(others[0]):
        return False
    lengths = {condition.context.shape[1], *(other.context.shape[1] for other in others)}
    return math.lcm(*lengths) <= LONGEST_REPEAT * min(lengths)


def extra_shapes(condition: Condition) -> dict[str, tuple[int, ...] | int]:
    """What a condition gives the network beside the text, and how large."""
    given = {name: condition.extra(name, 1) for name in condition.extras}
    return {name: value if isinstance(value, int) else tuple(value.shape) for name, value in given.items()}


def joined(values: Sequence[Tensor | int], like: Tensor) -> Tensor | int:
    """One further input of several conditions, row below row; a number is the same for all."""
    rows = [value for value in values if isinstance(value, Tensor)]
    return sent(torch.cat(rows), like.device, like.dtype) if rows else values[0]


def _call(
    model: Denoiser, group: Sequence[tuple[int, Condition]], x: Tensor, sigma: float, options: Options
) -> list[Tensor]:
    rows = x.shape[0]
    length = math.lcm(*(condition.context.shape[1] for _, condition in group))
    latents = torch.cat([condition.crop(x) for _, condition in group])
    contexts = torch.cat([sent(_context(condition, rows, length), x.device) for _, condition in group])
    levels = levels_like(latents, sigma)
    given = cast("Mapping[str, object]", options.get("transformer_options") or {})
    which = [side for side, _ in group]
    transformer_options = {**given, "cond_or_uncond": which, "sigmas": levels}
    conditions: dict[str, object] = {
        name: joined([condition.extra(name, rows) for _, condition in group], x) for name in group[0][1].extras
    }
    control = group[0][1].control
    if control is not None:
        seen = {**conditions, "c_crossattn": contexts, "transformer_options": transformer_options}
        seen |= _own_texts([condition for _, condition in group], x)
        conditions["control"] = control.get_control(latents, levels, seen, len(group), transformer_options)
    denoised = _network(model, options, latents, levels, contexts, transformer_options, conditions)
    return [denoised[place * rows : (place + 1) * rows] for place in range(len(group))]


def _own_texts(conditions: Sequence[Condition], x: Tensor) -> dict[str, object]:
    """The texts that conditions have for ControlNets alone (CLIPTextEncodeControlnet), where any of them has one."""
    own = [condition.options.get(CONTROL_TEXT) for condition in conditions]
    if not any(isinstance(each, Tensor) for each in own):
        return {}
    read = [
        replace(condition, context=text) if isinstance(text, Tensor) else condition
        for condition, text in zip(conditions, own, strict=True)
    ]
    length = math.lcm(*(condition.context.shape[1] for condition in read))
    return {"crossattn_controlnet": torch.cat([sent(_context(each, len(x), length), x.device) for each in read])}


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
    around = options.get("model_function_wrapper")
    if not callable(around):
        return model.apply(latents, levels, context=context, transformer_options=transformer_options, **conditions)
    arguments = {"c_crossattn": context, "transformer_options": transformer_options, **conditions}
    which = transformer_options["cond_or_uncond"]
    given = {"input": latents, "timestep": levels, "c": arguments, "cond_or_uncond": which}
    return cast(Tensor, around(cast(Any, model).apply_model, given))


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
