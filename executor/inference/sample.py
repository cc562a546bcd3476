"""The one entry of every sampling node: names of methods and schedules to finished latents, in the steps packs know.

`sample` calls `sample_latents` (comfy.sample.sample), which calls KSampler, which calls `sample_conds`
(comfy.samplers.sample); each may be replaced. Knows no node and no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor

from executor import context
from executor.errors import NodeInputError
from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.handle import ModelHandle
from executor.inference.latent_formats import LatentFormat
from executor.inference.noise import prepare_noise
from executor.inference.preview import LatentPreview, preview_decoder
from executor.inference.samplers import SAMPLER_NAMES, Sampler, sampler
from executor.inference.schedules import DROP_PENULTIMATE, SCHEDULER_NAMES, ksampler_sigmas
from executor.inference.seams import seam
from executor.inference.values import Conditioning, Latent

__all__ = ["Guidance", "KSampler", "fitted_channels", "sample", "sample_conds", "sample_latents", "sample_sigmas"]

VIDEO = 5  # dimensions of latents of videos
StepCallback: TypeAlias = Callable[[int, Tensor, Tensor, int], None]
"""Told after each step: its number, the denoised latents, the noisy ones, how many steps there are."""


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
    samples = fitted_channels(latent["samples"], handle.latent_format)
    noise = torch.zeros_like(samples)
    if not disable_noise:
        noise = prepare_noise(samples, seed, latent.get("batch_index"))
    return sample_latents(
        handle,
        noise,
        steps,
        cfg,
        sampler_name,
        scheduler,
        positive,
        negative,
        samples,
        denoise=denoise,
        disable_noise=disable_noise,
        start_step=start_step,
        last_step=last_step,
        force_full_denoise=force_full_denoise,
        noise_mask=latent.get("noise_mask"),
        callback=prepare_callback(handle, steps),
        disable_pbar=False,
        seed=seed,
    )


@seam("latent_preview.prepare_callback")
def prepare_callback(model: ModelHandle, steps: int, x0_output_dict: dict[str, Tensor] | None = None) -> StepCallback:
    """A function that tells the running node's progress, with previews that are drawn on demand.

    It raises Interrupted when the user stopped the prompt.
    """

    decoder = preview_decoder(model.latent_format)

    def step(index: int, denoised: Tensor, x: Tensor, total: int) -> None:
        if x0_output_dict is not None:
            x0_output_dict["x0"] = denoised
        preview = LatentPreview(latent=denoised, latent_format=model.latent_format, decoder=decoder)
        context.current().progress(min(index + 1, total), total, preview)

    return step


@seam("sample.sample")
def sample_latents(
    model: ModelHandle,
    noise: Tensor,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Tensor,
    denoise: float = 1.0,
    disable_noise: bool = False,
    start_step: int | None = None,
    last_step: int | None = None,
    force_full_denoise: bool = False,
    noise_mask: Tensor | None = None,
    sigmas: Tensor | None = None,
    callback: StepCallback | None = None,
    disable_pbar: bool = False,
    seed: int | None = None,
) -> Tensor:
    """`sample` for noise [B, C, H, W] that is there already; with `sigmas` for these noise levels."""
    made = make_ksampler(
        model,
        steps=steps,
        device=model.load_device,
        sampler=sampler_name,
        scheduler=scheduler,
        denoise=denoise,
        model_options=model.model_options,
    )
    return made.sample(
        noise,
        positive,
        negative,
        cfg=cfg,
        latent_image=latent_image,
        start_step=start_step,
        last_step=last_step,
        force_full_denoise=force_full_denoise,
        denoise_mask=noise_mask,
        sigmas=sigmas,
        callback=callback,
        disable_pbar=disable_pbar,
        seed=seed,
    )


class Offered(type):
    """A class with the lists that nodes offer: assigning one changes it in place, where the nodes read it."""

    def __setattr__(cls, name: str, value: object) -> None:
        offered = vars(cls).get(name)
        if name in ("SAMPLERS", "SCHEDULERS") and isinstance(offered, list):
            offered[:] = list(cast("Sequence[str]", value))
        else:
            super().__setattr__(name, value)


class KSampler(metaclass=Offered):
    """A method and a schedule made ready for one model."""

    SCHEDULERS = SCHEDULER_NAMES
    SAMPLERS = SAMPLER_NAMES
    DISCARD_PENULTIMATE_SIGMA_SAMPLERS = set(DROP_PENULTIMATE)  # noqa: RUF012  (packs read it from the class)

    def __init__(
        self,
        model: ModelHandle,
        steps: int,
        device: torch.device | None = None,
        sampler: str | None = None,
        scheduler: str | None = None,
        denoise: float | None = None,
        model_options: Mapping[str, object] | None = None,
    ) -> None:
        """Unknown or missing names mean the first ones offered."""
        self.model, self.device, self.denoise = model, device, denoise
        self.sampler = sampler or self.SAMPLERS[0]
        self.scheduler = scheduler or self.SCHEDULERS[0]
        self.model_options = model.model_options if model_options is None else model_options
        self.set_steps(steps, denoise)

    def calculate_sigmas(self, steps: int) -> Tensor:
        """The noise levels of a whole sampling of so many steps."""
        return ksampler_sigmas(self.model.model_sampling, self.scheduler, self.sampler, steps)

    def set_steps(self, steps: int, denoise: float | None = None) -> None:
        """Take so many steps, the last ones of a longer schedule where `denoise` is below one."""
        self.steps = steps
        self.sigmas = ksampler_sigmas(self.model.model_sampling, self.scheduler, self.sampler, steps, denoise)

    def sample(
        self,
        noise: Tensor,
        positive: Conditioning,
        negative: Conditioning,
        cfg: float,
        latent_image: Tensor | None = None,
        start_step: int | None = None,
        last_step: int | None = None,
        force_full_denoise: bool = False,
        denoise_mask: Tensor | None = None,
        sigmas: Tensor | None = None,
        callback: StepCallback | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:
        """The finished latents [B, C, H, W], on the CPU, of a window of the steps."""
        levels = self.sigmas if sigmas is None else sigmas
        if last_step is not None and last_step < len(levels) - 1:
            levels = levels[: last_step + 1]
            if force_full_denoise:
                levels = torch.cat([levels[:-1], levels.new_zeros(1)])
        if start_step is not None:
            levels = levels[start_step:] if start_step < len(levels) - 1 else levels[:0]
        if len(levels) < 2:
            return torch.zeros_like(noise) if latent_image is None else latent_image
        return sample_conds(
            self.model,
            noise,
            positive,
            negative,
            cfg,
            self.device,
            sampler(self.sampler),
            levels,
            self.model_options,
            latent_image=latent_image,
            denoise_mask=denoise_mask,
            callback=callback,
            disable_pbar=disable_pbar,
            seed=seed,
        )


make_ksampler = seam("samplers.KSampler")(KSampler)
"""Makes a KSampler; a class of a pack may stand in this place."""


@seam("samplers.sample")
def sample_conds(
    model: ModelHandle,
    noise: Tensor,
    positive: Conditioning,
    negative: Conditioning,
    cfg: float,
    device: torch.device | None,
    sampler: Sampler,
    sigmas: Tensor,
    model_options: Mapping[str, object] | None = None,
    latent_image: Tensor | None = None,
    denoise_mask: Tensor | None = None,
    callback: StepCallback | None = None,
    disable_pbar: bool = False,
    seed: int | None = None,
) -> Tensor:
    """The finished latents [B, C, H, W], on the CPU, for noise, noise levels and a method that are there already."""
    handle = model
    if model_options is not None and model_options is not model.model_options:
        handle = model.clone()
        handle.model_options = dict(model_options)
    latent: Latent = {"samples": torch.zeros_like(noise) if latent_image is None else latent_image}
    if denoise_mask is not None:
        latent["noise_mask"] = denoise_mask
    total = len(sigmas) - 1

    def on_step(index: int, x: Tensor, denoised: Tensor) -> None:
        if callback is not None:
            callback(index, denoised, x, total)

    guidance = Guidance(positive=positive, negative=negative, cfg=cfg)
    return sample_sigmas(handle, latent, noise, sigmas, sampler, guidance, seed=seed or 0, on_step=on_step)[0]


def fitted_channels(samples: Tensor, latent_format: LatentFormat) -> Tensor:
    """Empty latents with the channels of the model's format; others have to have them already.

    Latents of pictures [B, C, h, w] are videos of one frame to a model of videos.
    Raises NodeInputError when a picture's latents are of another kind of model, or there are none.
    """
    channels, dimensions = latent_format.channels, 2 + int(getattr(latent_format, "latent_dimensions", 2))
    if dimensions == VIDEO and samples.ndim == VIDEO - 1:
        samples = samples[:, :, None]
    if samples.shape[0] == 0:
        raise NodeInputError("these latents are an empty batch: there is nothing to sample")
    if samples.ndim != dimensions:
        raise NodeInputError(
            f"these latents have the shape {list(samples.shape)}, but the model works on {dimensions} dimensions "
            f"({latent_format.name}): latents of videos, sounds and pictures do not stand in for each other"
        )
    if samples.shape[1] == channels:
        return samples
    if not bool(samples.any()):
        return samples.new_zeros((samples.shape[0], channels, *samples.shape[2:]))
    raise NodeInputError(
        f"these latents have {samples.shape[1]} channels, but the model works on {channels} "
        f"({latent_format.name}): encode the picture with a VAE of the model's family"
    )
