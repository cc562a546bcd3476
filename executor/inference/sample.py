"""The one entry of every sampling node: noise levels, noise, guidance and sampler put together and run.

Knows no node and no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from executor import context
from executor.errors import NodeInputError
from executor.inference.conditions import fitted_mask, resolve, with_counterparts
from executor.inference.guidance import Guider, Inpainting, MaskFunction
from executor.inference.handle import ModelHandle
from executor.inference.latent_formats import LatentFormat
from executor.inference.noise import prepare_noise
from executor.inference.pixels import repeat_to
from executor.inference.preview import LatentPreview
from executor.inference.samplers import Model, Sampler, sampler
from executor.inference.schedules import ksampler_sigmas
from executor.inference.values import Conditioning, Latent

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


def sample(
    handle: ModelHandle,
    latent: Latent,
    *,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    denoise: float = 1.0,
    disable_noise: bool = False,
    start_step: int | None = None,
    last_step: int | None = None,
    force_full_denoise: bool = False,
) -> Tensor:
    """The latents [B, C, H, W] that a KSampler with these settings makes of `latent`, on the CPU.

    `start_step` and `last_step` cut a window out of the steps; `force_full_denoise` lets it end without noise.
    Raises UnknownName for a sampler or scheduler that does not exist, NodeInputError for latents of another model.
    """
    method = sampler(sampler_name)
    sigmas = ksampler_sigmas(handle.model.sampling, scheduler, sampler_name, steps, denoise)
    if last_step is not None and last_step < len(sigmas) - 1:
        sigmas = sigmas[: last_step + 1]
        if force_full_denoise:
            sigmas[-1] = 0
    if start_step is not None:
        sigmas = sigmas[start_step:] if start_step < len(sigmas) - 1 else sigmas[:0]
    samples = fitted_channels(latent["samples"], handle.latent_format)
    noise = torch.zeros_like(samples)
    if not disable_noise:
        noise = prepare_noise(samples, seed, latent.get("batch_index"))
    guidance = Guidance(positive=positive, negative=negative, cfg=cfg)
    return sample_sigmas(handle, {**latent, "samples": samples}, noise, sigmas, method, guidance, seed=seed)[0]


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
) -> tuple[Tensor, Tensor]:
    """Finished latents and the last denoised ones, [B, C, H, W] on the CPU, for any noise and noise levels.

    `seed` is for the noise that the sampler draws on its way.
    """
    samples = latent["samples"]
    if len(sigmas) < 2:
        return samples, samples
    handle.load(torch.Size((2 * samples.shape[0], *samples.shape[1:])))
    device, sampling = handle.load_device, handle.model.sampling
    levels: list[float] = sigmas.tolist()
    start = samples.to(device, torch.float32)
    if bool(start.any()):  # a latent of zeros is "no picture", whatever the format's scale and shift
        start = handle.latent_format.process_in(start)
    noise = noise.to(device, torch.float32)
    model: Model = _guided(handle, samples, guidance, levels)
    if latent.get("noise_mask") is not None:
        model = _inpainting(handle, model, latent["noise_mask"], start, noise, levels, method, seed)
    progress = Progress(total=len(levels) - 1, latent_format=handle.latent_format, denoised=start)
    x = sampling.noise_scaling(levels[0], noise, start, _is_pure_noise(levels[0], sampling.sigma_max))
    x = method.run(model, x, levels, seed=seed, callback=progress.step)
    x = sampling.inverse_noise_scaling(levels[-1], x)
    out = handle.latent_format.process_out
    return out(x).cpu(), out(progress.denoised).cpu()


@dataclass(slots=True, kw_only=True)
class Progress:
    """Tells the running node's progress after each step, with a preview that is drawn on demand."""

    total: int
    latent_format: LatentFormat
    denoised: Tensor

    def step(self, step: int, x: Tensor, denoised: Tensor) -> None:
        """One more step is done; raises Interrupted when the user stopped the prompt."""
        self.denoised = denoised
        preview = LatentPreview(latent=denoised, latent_format=self.latent_format)
        context.current().progress(min(step + 1, self.total), self.total, preview)


def _guided(handle: ModelHandle, samples: Tensor, guidance: Guidance, levels: list[float]) -> Guider:
    sampling = handle.model.sampling
    positive = resolve(guidance.positive, samples.shape, sampling)
    negative = resolve(guidance.negative, samples.shape, sampling)
    sides = with_counterparts(positive, negative), with_counterparts(negative, positive)
    return Guider(handle.model, *sides, guidance.cfg, handle.model_options)


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
    mask = fitted_mask(noise_mask, (start.shape[-2], start.shape[-1]))[:, None]
    mask = repeat_to(mask, start.shape[0]).to(start)
    if method.redraws_kept_noise:
        noise = prepare_noise(noise.cpu(), seed + REDRAWN_SEED_OFFSET).to(noise)
    by_level = handle.model_options.get("denoise_mask_function")
    return Inpainting(model, mask, start, noise, _mask_at(by_level, mask, levels, handle) if by_level else None)


def _mask_at(function: object, mask: Tensor, levels: list[float], handle: ModelHandle) -> Callable[[float], Tensor]:
    by_level = cast("MaskFunction", function)
    extra: dict[str, object] = {"model": handle.model, "sigmas": torch.tensor(levels)}

    def mask_at(sigma: float) -> Tensor:
        return by_level(mask.new_full((mask.shape[0],), sigma), mask, extra)

    return mask_at


def _is_pure_noise(sigma: float, sigma_max: float) -> bool:
    return sigma > sigma_max or math.isclose(sigma, sigma_max, rel_tol=SIGMA_MAX_TOLERANCE)


def fitted_channels(samples: Tensor, latent_format: LatentFormat) -> Tensor:
    """Empty latents with the channels of the model's format; others have to have them already.

    Raises NodeInputError when a picture's latents are of another kind of model.
    """
    channels = latent_format.channels
    if samples.shape[1] == channels:
        return samples
    if not bool(samples.any()):
        return samples.new_zeros((samples.shape[0], channels, *samples.shape[2:]))
    raise NodeInputError(
        f"these latents have {samples.shape[1]} channels, but the model works on {channels} "
        f"({latent_format.name}): encode the picture with a VAE of the model's family"
    )
