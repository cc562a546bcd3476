"""Runs one sampling: noise and latents in, a guided model through a method, finished latents out.

Knows no node, no names of methods and schedules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from typing import TypeAlias, cast

import torch
from torch import Tensor

from executor.inference.conditions import (
    Condition,
    completed,
    resolve,
    with_controls,
    with_counterparts,
)
from executor.inference.context_windows import HANDLER, ContextWindows
from executor.inference.crossing import levels_like, sent, sent_like
from executor.inference.extras import Situation
from executor.inference.gligen import grounded
from executor.inference.guidance import Guider, Inpainting, MaskFunction
from executor.inference.handle import ModelHandle, copied
from executor.inference.handle_hooks import hooks_of, with_hook_options
from executor.inference.latent_masks import noise_mask_like
from executor.inference.network_calls import KNOWN_CALLS, KnownCalls
from executor.inference.noise import prepare_noise
from executor.inference.samplers import Callback, Model, Sampler
from executor.inference.samplers.base import silent
from executor.inference.values import Conditioning, Latent
from executor.inference.wrappers import (
    OUTER_SAMPLE,
    PREPARE_SAMPLING,
    SAMPLER_SAMPLE,
    Function,
    Keyed,
    WrapperExecutor,
    functions,
    merged,
)

Sides: TypeAlias = dict[str, list[Condition]]
"""Conditions by what they are for: "positive", "negative" and names that guiders of packs choose."""

StepTold: TypeAlias = Callable[[int, Tensor, Tensor, int], None]
"""A callback as packs have it: step, denoised latents, noisy ones, number of steps."""

MakeModel: TypeAlias = Callable[[Sides, dict[str, object]], Model]
"""What samplers call, made of conditions that fit the latents and of the MODEL's options."""

# How near the first sigma has to be to the model's largest to count as pure noise.
SIGMA_MAX_TOLERANCE = 1e-5
# Under a mask `ddim` noises the kept part with noise of the next seed, not with the start noise. Recorded behaviour:
# numeric/samplers_variants, cases eps and flow/ddim/inpaint and inpaint_d0.6; without a mask ddim is euler.
REDRAWN_SEED_OFFSET = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """What to draw and how strictly."""

    positive: Conditioning
    negative: Conditioning
    cfg: float


@torch.inference_mode()
def sample_sigmas(
    handle: ModelHandle,
    latent: Latent,
    noise: Tensor,
    sigmas: Tensor,
    method: Sampler,
    guidance: Guidance,
    *,
    seed: int,
    on_step: Callback = silent,
) -> tuple[Tensor, Tensor]:
    """Finished latents and the last denoised ones, [B, C, H, W] on the CPU, for any noise and noise levels.

    `seed` is for the noise that the sampler draws on its way; `on_step` is told of each step.
    """

    def make(sides: Sides, options: dict[str, object]) -> Model:
        return Guider(handle.model, sides["positive"], sides["negative"], guidance.cfg, options, seed)

    given = {"positive": guidance.positive, "negative": guidance.negative}
    return sample_with(handle, latent, noise, sigmas, method, given, make, seed=seed, on_step=on_step)


@torch.inference_mode()
def sample_with(
    handle: ModelHandle,
    latent: Latent,
    noise: Tensor,
    sigmas: Tensor,
    method: Sampler,
    conditionings: Mapping[str, Conditioning],
    make: MakeModel,
    *,
    seed: int,
    on_step: Callback = silent,
) -> tuple[Tensor, Tensor]:
    """As `sample_sigmas`, with any number of conditionings and any guidance.

    When memory runs out on the way, it begins anew once, with weights from the file. Raises OutOfMemory after that.
    """
    samples = latent["samples"]
    if len(sigmas) < 2:
        return samples, samples
    given = handle, latent, noise, sigmas, method, conditionings, make
    return handle.within_memory(partial(_sample_with, *given, seed=seed, on_step=on_step))


def _sample_with(
    handle: ModelHandle,
    latent: Latent,
    noise: Tensor,
    sigmas: Tensor,
    method: Sampler,
    conditionings: Mapping[str, Conditioning],
    make: MakeModel,
    *,
    seed: int,
    on_step: Callback,
) -> tuple[Tensor, Tensor]:
    samples = latent["samples"]
    hooks = hooks_of(list(conditionings.values()))
    if hooks is not None:
        handle = handle.under(hooks)
    options = with_hook_options(sampling_options(handle, sigmas), hooks)
    with ExitStack() as stack:
        handle = _prepared(handle, samples, conditionings, options, stack)
        if hooks is not None:
            handle.register_all_hook_patches(hooks)
        found = grounded(resolved(handle, samples.shape, conditionings, latent), options, samples.shape)
        sides = {name: [each.on(handle.load_device) for each in side] for name, side in found.items()}
        run = _Run(handle=handle, latent=latent, noise=noise, sigmas=sigmas, method=method, seed=seed, options=options)
        with controlled(handle, list(sides.values()), samples.shape):
            model, around = make(sides, options), functions(OUTER_SAMPLE, options)
            return run.within(around, model, on_step) if around else run.sampled(model, on_step)


def evaluated_shape(handle: ModelHandle, shape: torch.Size) -> torch.Size:
    """The shape of the latents that one network call is for at most: both sides, a window where they are cut."""
    windows = handle.model_options.get(HANDLER)
    largest = windows.largest(shape) if isinstance(windows, ContextWindows) else shape
    return torch.Size((2 * largest[0], *largest[1:]))


def with_further_pictures(shape: torch.Size, conditionings: Iterable[Conditioning]) -> torch.Size:
    """A shape with rows more for the pictures that a network sees beside its latents, as far as memory goes."""
    cells = max((further_cells(entry) for side in conditionings for entry in side), default=0)
    return torch.Size((*shape[:-2], shape[-2] - (-cells // max(1, shape[-1])), shape[-1]))


def further_cells(entry: Sequence[object]) -> int:
    """Latent cells of the pictures that an entry of a conditioning brings."""
    options = entry[1] if len(entry) > 1 else None
    pictures = options.get("reference_latents") if isinstance(options, Mapping) else None
    return sum(each.shape[-2] * each.shape[-1] for each in cast("Sequence[Tensor]", pictures or ()))


def _prepared(
    handle: ModelHandle,
    samples: Tensor,
    conditionings: Mapping[str, Conditioning],
    options: dict[str, object],
    stack: ExitStack,
) -> ModelHandle:
    """The MODEL loaded for as long as the stack is open; functions of packs around it may hand on another one."""
    loaded: list[ModelHandle] = []

    def prepare(
        model: ModelHandle, noise_shape: Sequence[int], conds: object, model_options: object = None, **more: object
    ) -> tuple[object, object, list[object]]:
        shape = with_further_pictures(evaluated_shape(model, torch.Size(noise_shape)), conditionings.values())
        stack.enter_context(model.loaded_for(shape))
        loaded[:] = [model]
        return model.model, conds, []

    inner = WrapperExecutor.new_executor(prepare, functions(PREPARE_SAMPLING, options))
    inner.execute(handle, samples.shape, conditionings, options)
    return loaded[0] if loaded else handle


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Run:
    handle: ModelHandle
    latent: Latent
    noise: Tensor
    sigmas: Tensor
    method: Sampler
    seed: int
    options: dict[str, object]

    def sampled(self, model: Model, on_step: Callback) -> tuple[Tensor, Tensor]:
        device = self.handle.load_device
        given = self.latent["samples"]
        start = sent(given, device, torch.float32)
        if bool(given.any()):  # a latent of zeros is "no picture", whatever the format's scale and shift
            start = self.handle.latent_format.process_in(start)
        last = start

        def step(index: int, denoised: Tensor, x: Tensor, steps: int) -> None:
            nonlocal last
            last = denoised
            on_step(index, x, denoised)

        def sample(
            model_wrap: object,
            sigmas: Tensor,
            extra_args: object,
            callback: StepTold | None,
            noise: Tensor,
            latent_image: Tensor | None = None,
            denoise_mask: Tensor | None = None,
            disable_pbar: bool = False,
        ) -> Tensor:
            begin = torch.zeros_like(noise) if latent_image is None else latent_image
            return self._stepped(model, sigmas, callback, noise, begin, denoise_mask)

        inner = WrapperExecutor.new_class_executor(sample, self.method, functions(SAMPLER_SAMPLE, self.options))
        extra = {"model_options": self.options, "seed": self.seed}
        noise, mask = sent(self.noise, device, torch.float32), self.latent.get("noise_mask")
        x = inner.execute(getattr(model, "guider", model), self.sigmas, extra, step, noise, start, mask, False)
        out = self.handle.latent_format.process_out
        return out(cast(Tensor, x)).cpu(), out(last).cpu()

    def _stepped(
        self,
        model: Model,
        sigmas: Tensor,
        callback: StepTold | None,
        noise: Tensor,
        start: Tensor,
        noise_mask: Tensor | None,
    ) -> Tensor:
        """Latents [B, C, H, W] in the network's scale after all noise levels."""
        sampling, levels = self.handle.model_sampling, cast("list[float]", sigmas.tolist())
        if noise_mask is not None:
            model = _inpainting(self.handle, model, noise_mask, start, noise, levels, self.method, self.seed)

        def step(index: int, x: Tensor, denoised: Tensor) -> None:
            if callback is not None:
                callback(index, denoised, x, len(levels) - 1)

        x = sampling.noise_scaling(levels[0], noise, start, _is_pure_noise(levels[0], sampling.sigma_max))
        x = self.method.run(model, x, levels, seed=self.seed, callback=step)
        return sampling.inverse_noise_scaling(levels[-1], x)

    def within(self, around: Sequence[Function], model: Model, on_step: Callback) -> tuple[Tensor, Tensor]:
        """`sampled` with functions of packs around it, which see the guider as `class_obj`."""
        last: list[Tensor] = []

        def outer(
            noise: Tensor,
            latent_image: Tensor,
            sampler: Sampler,
            sigmas: Tensor,
            denoise_mask: Tensor | None = None,
            callback: StepTold | None = None,
            disable_pbar: bool = False,
            seed: int | None = None,
        ) -> Tensor:
            def step(index: int, x: Tensor, denoised: Tensor) -> None:
                if callback is not None:
                    callback(index, denoised, x, len(sigmas) - 1)

            latent: Latent = {"samples": latent_image}
            if denoise_mask is not None:
                latent["noise_mask"] = denoise_mask
            run = replace(self, noise=noise, latent=latent, method=sampler, sigmas=sigmas, seed=seed or 0)
            samples, denoised = run.sampled(model, step)
            last[:] = [denoised]
            return samples

        def told(index: int, denoised: Tensor, x: Tensor, total: int) -> None:
            on_step(index, x, denoised)

        inner = WrapperExecutor.new_class_executor(outer, getattr(model, "guider", model), around)
        given = (self.noise, self.latent["samples"], self.method, self.sigmas, self.latent.get("noise_mask"))
        samples = cast(Tensor, inner.execute(*given, told, False, self.seed))
        return samples, last[0] if last else samples


def resolved(
    handle: ModelHandle, shape: torch.Size, conditionings: Mapping[str, Conditioning], latent: Latent | None = None
) -> Sides:
    """Conditions for latents of a shape, each side with what it needs of the others' areas and controls.

    `latent` is what the sampling starts from, for networks that see it. Raises NodeInputError for conditioning that
    lacks what the network needs.
    """
    plain = {name: resolve(given, shape, handle.model_sampling) for name, given in conditionings.items()}
    sides = dict(plain)
    for name, other in permutations(plain, 2):
        sides[name] = with_controls(sides[name], plain[other])
    ready = dict(sides)
    for name, other in permutations(plain, 2):
        ready[name] = with_counterparts(ready[name], sides[other])
    return with_extras(handle, shape, ready, latent)


def with_extras(handle: ModelHandle, shape: torch.Size, sides: Sides, latent: Latent | None) -> Sides:
    """The conditions with what the network takes beside latents, time and text.

    Raises NodeInputError for text of another width than the network takes, or conditioning that lacks something.
    """
    start = None if latent is None else latent["samples"].float()
    if start is not None and bool(start.any()):
        start = handle.latent_format.process_in(start)
    mask = None if latent is None else latent.get("noise_mask")
    found: Sides = {}
    for name, conditions in sides.items():
        here = Situation(shape=shape, negative=name == "negative", latent=start, mask=mask)
        found[name] = completed(conditions, handle.model, here)
    return found


def sampling_options(handle: ModelHandle, sigmas: Tensor) -> dict[str, object]:
    """The MODEL's options for one sampling, with its wrappers, callbacks and all noise levels within."""
    options = copied(handle.model_options)
    transformer_options = cast("dict[str, object]", options.setdefault("transformer_options", {}))
    given = cast(Keyed, transformer_options.get("wrappers") or {})
    transformer_options["wrappers"] = merged(handle.wrappers, given)
    transformer_options["callbacks"] = merged(handle.callbacks)
    transformer_options["sample_sigmas"] = sigmas
    options[KNOWN_CALLS] = KnownCalls()
    return options


@contextmanager
def controlled(handle: ModelHandle, sides: Sequence[Sequence[Condition]], shape: torch.Size) -> Iterator[None]:
    """The controls of all conditions made ready for one sampling, and cleaned up after it."""
    controls = list(dict.fromkeys(each.control for side in sides for each in side if each.control is not None))
    for control in controls:
        control.pre_run(handle.model, handle.model_sampling.percent_to_sigma)
    try:
        yield
    finally:
        for control in controls:
            control.cleanup()


def _inpainting(
    handle: ModelHandle,
    model: Model,
    noise_mask: Tensor,
    start: Tensor,
    noise: Tensor,
    levels: list[float],
    method: Sampler,
    seed: int,
) -> Model:
    mask = sent_like(noise_mask_like(noise_mask, start.shape), start)
    if method.redraws_kept_noise:
        noise = sent_like(prepare_noise(torch.zeros_like(noise, device="cpu"), seed + REDRAWN_SEED_OFFSET), noise)
    by_level = handle.model_options.get("denoise_mask_function")
    return Inpainting(model, mask, start, noise, _mask_at(by_level, mask, levels, handle) if by_level else None)


def _mask_at(function: object, mask: Tensor, levels: list[float], handle: ModelHandle) -> Callable[[float], Tensor]:
    by_level = cast("MaskFunction", function)
    extra: dict[str, object] = {"model": handle.model, "sigmas": sent(torch.tensor(levels), mask.device)}

    def mask_at(sigma: float) -> Tensor:
        return by_level(levels_like(mask, sigma), mask, extra)

    return mask_at


def _is_pure_noise(sigma: float, sigma_max: float) -> bool:
    return sigma > sigma_max or math.isclose(sigma, sigma_max, rel_tol=SIGMA_MAX_TOLERANCE)
