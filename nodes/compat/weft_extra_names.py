"""What modules of extra nodes hold beside their node classes: sources of noise, guiders, small functions, other names.

Knows no module system. Names and arguments: reference/custom_node_surface.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from comfy.model_sampling import EPS, ModelSamplingDiscrete, rescale_zero_terminal_snr_sigmas
from torch import Tensor
from torch.nn import functional

from executor.inference import filters, guidance_rules, guider
from executor.inference.denoiser import ConsistencyEps, ModelSampling, trained_levels
from executor.inference.freeu import damped
from executor.inference.noise_levels import NoiseLevels
from executor.inference.pixels import paste
from executor.inference.sigma_tables import log_interpolated
from nodes.builtin.custom_sampling import NoNoise, SeededNoise
from nodes.builtin.latent_batch import fitted
from nodes.builtin.sigmas import ALIGNED

TRAINED_STEPS = 1000


def composite(
    destination: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None = None, multiplier: int = 8,
    resize_source: bool = False,
) -> Tensor:  # fmt: skip
    """`destination` [B, C, H, W] with `source` at (x, y) where the mask is 1; places are in units of 1/multiplier cell.

    As the nodes that paste pictures (multiplier 1) and latents (8) do it, whose outcomes are recorded.
    """
    source = source.to(destination.device)
    if resize_source:
        source = functional.interpolate(source, size=destination.shape[-2:], mode="bilinear")
    cells_x = max(-source.shape[-1], min(x // multiplier, destination.shape[-1]))
    cells_y = max(-source.shape[-2], min(y // multiplier, destination.shape[-2]))
    return paste(destination, source, cells_x, cells_y, mask)


def reshape_latent_to(target_shape: Sequence[int], latent: Tensor, repeat_batch: bool = True) -> Tensor:
    """Latents scaled to the size of a shape [B, C, H, W], their batch repeated to its length where asked for."""
    rows = target_shape[0] if repeat_batch else latent.shape[0]
    return fitted(latent, torch.empty(rows, *target_shape[1:], device="meta"))


def gaussian_kernel(kernel_size: int, sigma: float, device: torch.device | None = None) -> Tensor:
    """A kernel [size, size] that sums to 1; `sigma` is in parts of half the size."""
    return filters.gaussian(kernel_size // 2, sigma).to(device)


def perp_neg(
    x: Tensor, noise_pred_pos: Tensor, noise_pred_neg: Tensor, noise_pred_nocond: Tensor, neg_scale: float,
    cond_scale: float,
) -> Tensor:  # fmt: skip
    """Three answers mixed so that the negative one leads away only from what the positive one has not."""
    return guidance_rules.perpendicular(noise_pred_pos, noise_pred_neg, noise_pred_nocond, cond_scale, neg_scale)


def Fourier_filter(x: Tensor, threshold: int, scale: float) -> Tensor:  # noqa: N802  (the ecosystem's name)
    """[B, C, H, W] with its waves below a threshold scaled."""
    return damped(x, scale, threshold)


def loglinear_interp(t_steps: Sequence[float], num_steps: int) -> np.ndarray:
    """So many noise levels along a table, log sigma linear in between."""
    return log_interpolated(t_steps, num_steps).double().numpy()


class LCM(EPS):
    """A latent consistency model: the network predicts noise, and the denoised latent is pulled to the input."""

    prediction_class = ConsistencyEps


class ModelSamplingDiscreteDistilled(ModelSamplingDiscrete):
    """Every so manieth level of the trained table, `original_timesteps` of them."""

    original_timesteps = 50

    def set_up(self, settings: Mapping[str, object], zsnr: bool | None) -> None:
        """Take the levels that the settings say."""
        wanted = bool(settings.get("zsnr") if zsnr is None else zsnr)
        self.use(trained_levels(zero_snr=wanted, stride=TRAINED_STEPS // self.original_timesteps))

    def use(self, levels: NoiseLevels) -> None:
        """Sample on these levels from now on."""
        if getattr(type(self), "prediction_class", None) is ConsistencyEps:
            ModelSampling.__init__(self, ConsistencyEps(levels), levels)
        else:
            super().use(levels)


NAMES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "align_your_steps": {
            "loglinear_interp": loglinear_interp,
            "NOISE_LEVELS": {kind: list(levels) for kind, levels in ALIGNED.items()},
        },
        "custom_sampler": {
            "Noise_EmptyNoise": NoNoise,
            "Noise_RandomNoise": SeededNoise,
            "Guider_Basic": guider.BasicGuider,
            "Guider_DualCFG": guider.DualGuider,
        },
        "freelunch": {"Fourier_filter": Fourier_filter},
        "latent": {"reshape_latent_to": reshape_latent_to},
        "mask": {"composite": composite},
        "model_advanced": {
            "LCM": LCM,
            "ModelSamplingDiscreteDistilled": ModelSamplingDiscreteDistilled,
            "rescale_zero_terminal_snr_sigmas": rescale_zero_terminal_snr_sigmas,
        },
        "perpneg": {"perp_neg": perp_neg, "Guider_PerpNeg": guider.PerpNegGuider},
        "post_processing": {"gaussian_kernel": gaussian_kernel},
    }
)
"""Module, without `comfy_extras.nodes_` → name → what it means."""

CLASS_NAMES = MappingProxyType({"ImageBlend": "Blend", "ImageBlur": "Blur", "ImageQuantize": "Quantize"})
"""Under which names packs import nodes whose class is called otherwise than the node."""

METHODS = MappingProxyType(
    {
        "SplitImageWithAlpha": "split_image_with_alpha",
        "JoinImageWithAlpha": "join_image_with_alpha",
        "PorterDuffImageComposite": "composite",
        "LatentAdd": "op",
        "LatentSubtract": "op",
        "LatentMultiply": "op",
        "LatentInterpolate": "op",
        "LatentConcat": "op",
        "LatentCut": "op",
        "LatentBatchSeedBehavior": "op",
    }
)
"""By which method packs call a node whose own method is called otherwise."""
