"""Sampling with names of methods and schedules, as packs call it. The work is Weft's own."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from comfy.guider import CFGGuider
from comfy.sampler_helpers import cleanup_additional_models, prepare_sampling
from comfy.seams import joined
from executor.errors import NodeInputError
from executor.inference import noise as _noise
from executor.inference import sample as _sample

__all__ = ["cleanup_additional_models", "prepare_sampling"]

__getattr__ = joined(__name__, {"sample": _sample.sample_latents, "prepare_noise": _noise.prepare_noise})


def fix_empty_latent_channels(model: object, latent_image: Tensor, *more: object) -> Tensor:
    """Empty latents with the channels of the model's format; others stay."""
    try:
        return _sample.fitted_channels(latent_image, model.get_model_object("latent_format"))
    except NodeInputError:
        return latent_image


def sample_custom(
    model: object, noise: Tensor, cfg: float, sampler: object, sigmas: Tensor, positive: object, negative: object,
    latent_image: Tensor, noise_mask: Tensor | None = None,
    callback: Callable[[int, Tensor, Tensor, int], None] | None = None, disable_pbar: bool = False,
    seed: int | None = None,
) -> Tensor:  # fmt: skip
    """The finished latents [B, C, H, W], on the CPU, for a method and noise levels that are there already."""
    guider = CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider.sample(noise, latent_image, sampler, sigmas, noise_mask, callback, disable_pbar, seed)
