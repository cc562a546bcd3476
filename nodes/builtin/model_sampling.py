"""Nodes that change how a model is sampled: noise levels, prediction, number type. Know no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from executor.inference import denoiser
from executor.inference.denoiser import ModelSampling
from executor.inference.guidance_rules import rescaled
from executor.inference.latent_formats import PLAYGROUND_25
from executor.inference.noise_levels import AngleLevels, ExponentialFlowLevels, FlowTimeLevels, LogLevels
from nodes.builtin.inputs import InputTypes, choice, decimal, flag, pixels, socket

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

PACK = "comfy_extras.nodes_model_advanced"
DTYPES = {"default": None, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DISCRETE: dict[str, Callable[[bool], ModelSampling]] = {
    "eps": lambda zsnr: denoiser.discrete_eps(zero_snr=zsnr),
    "v_prediction": lambda zsnr: denoiser.discrete_v(zero_snr=zsnr),
    "lcm": lambda zsnr: denoiser.consistency(zero_snr=zsnr),
    "x0": lambda zsnr: denoiser.discrete_x0(zero_snr=zsnr),
    "img_to_img": lambda zsnr: denoiser.discrete_x0(zero_snr=zsnr, unscaled=True),
}
CONTINUOUS: dict[str, Callable[[], denoiser.Prediction]] = {
    "v_prediction": denoiser.VPrediction,
    "edm": lambda: denoiser.Edm(0.5),
    "edm_playground_v2.5": lambda: denoiser.Edm(0.5),
    "eps": denoiser.Eps,
    "cosmos_rflow": denoiser.CosmosFlow,
}


def resampled(model: ModelHandle, sampling: ModelSampling) -> ModelHandle:
    """A clone that is sampled otherwise."""
    changed = model.clone()
    changed.add_object_patch("model_sampling", sampling)
    return changed


def sigma(default: float) -> tuple[object, ...]:
    """A noise level, to the last digit."""
    return decimal(default, 0.0, 1000.0, 0.001, round=False)


class ModelSamplingDiscrete:
    """Samples on the 1000 levels of Stable Diffusion's training, with another prediction."""

    PACK = PACK
    CATEGORY = "advanced/model"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": socket("MODEL"), "sampling": choice(list(DISCRETE)), "zsnr": flag(default=False)}}

    def patch(self, model: ModelHandle, sampling: str, zsnr: bool) -> tuple[ModelHandle]:
        """`zsnr` moves the last level to pure noise."""
        return (resampled(model, DISCRETE[sampling](zsnr)),)


class ModelSamplingContinuousEDM:
    """Samples on continuous levels, evenly spread in their logarithms."""

    PACK = PACK
    CATEGORY = "advanced/model"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "sampling": choice(list(CONTINUOUS)),
                "sigma_max": sigma(120.0),
                "sigma_min": sigma(0.002),
            }
        }

    def patch(self, model: ModelHandle, sampling: str, sigma_max: float, sigma_min: float) -> tuple[ModelHandle]:
        """Playground 2.5 has latents of a scale of its own too."""
        levels = FlowTimeLevels if sampling == "cosmos_rflow" else LogLevels
        changed = resampled(model, ModelSampling(CONTINUOUS[sampling](), levels(sigma_min, sigma_max)))
        if sampling == "edm_playground_v2.5":
            changed.latent_format = PLAYGROUND_25
        return (changed,)


class ModelSamplingContinuousV:
    """Samples on continuous levels given as angles, with v-prediction."""

    PACK = PACK
    CATEGORY = "advanced/model"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "sampling": choice(["v_prediction"]),
                "sigma_max": sigma(500.0),
                "sigma_min": sigma(0.03),
            }
        }

    def patch(self, model: ModelHandle, sampling: str, sigma_max: float, sigma_min: float) -> tuple[ModelHandle]:
        """Sample between these levels."""
        return (resampled(model, ModelSampling(denoiser.VPrediction(), AngleLevels(sigma_min, sigma_max))),)


class _Shifted:
    PACK = PACK
    CATEGORY = "advanced/model"
    RETURN_TYPES = ("MODEL",)
    SHIFT = 1.0

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": socket("MODEL"), "shift": decimal(cls.SHIFT, 0.0, 100.0)}}


class ModelSamplingStableCascade(_Shifted):
    """Samples on Stable Cascade's cosine levels."""

    SHIFT = 2.0
    FUNCTION = "patch"

    def patch(self, model: ModelHandle, shift: float) -> tuple[ModelHandle]:
        """A larger shift spends more steps on much noise."""
        return (resampled(model, denoiser.cascade(shift)),)


class ModelSamplingSD3(_Shifted):
    """Samples on the straight path of Stable Diffusion 3."""

    SHIFT = 3.0
    FUNCTION = "patch"

    def patch(self, model: ModelHandle, shift: float, multiplier: float = 1000) -> tuple[ModelHandle]:
        """A larger shift spends more steps on much noise."""
        return (resampled(model, denoiser.flow(shift, multiplier)),)


class ModelSamplingAuraFlow(_Shifted):
    """Samples on the straight path with the network's times in 0..1."""

    SHIFT = 1.73
    FUNCTION = "patch_aura"

    def patch_aura(self, model: ModelHandle, shift: float) -> tuple[ModelHandle]:
        """A larger shift spends more steps on much noise."""
        return (resampled(model, denoiser.flow(shift, 1.0)),)


class ModelSamplingFlux:
    """Samples on Flux's path, shifted by the picture's size."""

    PACK = PACK
    CATEGORY = "advanced/model"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "max_shift": decimal(1.15, 0.0, 100.0),
                "base_shift": decimal(0.5, 0.0, 100.0),
                "width": pixels(1024, 16, 8),
                "height": pixels(1024, 16, 8),
            }
        }

    def patch(
        self, model: ModelHandle, max_shift: float, base_shift: float, width: int, height: int
    ) -> tuple[ModelHandle]:
        """The shifts are those of the largest and smallest usual pictures; others lie on the line through both."""
        levels = ExponentialFlowLevels.for_size(width, height, max_shift=max_shift, base_shift=base_shift)
        return (resampled(model, ModelSampling(denoiser.Flow(), levels)),)


class RescaleCFG:
    """Keeps strong guidance from burning the picture."""

    PACK = PACK
    CATEGORY = "advanced/model"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": socket("MODEL"), "multiplier": decimal(0.7, 0.0, 1.0)}}

    def patch(self, model: ModelHandle, multiplier: float) -> tuple[ModelHandle]:
        """The multiplier says how much of the guided prediction gets the strength of the positive one."""
        changed = model.clone()
        changed.set_model_sampler_cfg_function(rescaled(multiplier))
        return (changed,)


class ModelComputeDtype:
    """Sets the number type that a model computes in."""

    PACK = PACK
    CATEGORY = "advanced/debug/model"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": socket("MODEL"), "dtype": choice(list(DTYPES))}}

    def patch(self, model: ModelHandle, dtype: str) -> tuple[ModelHandle]:
        """`default` leaves it to the device."""
        changed = model.clone()
        changed.set_model_compute_dtype(DTYPES[dtype])
        return (changed,)


NODES = (
    ModelSamplingDiscrete,
    ModelSamplingContinuousEDM,
    ModelSamplingContinuousV,
    ModelSamplingStableCascade,
    ModelSamplingSD3,
    ModelSamplingAuraFlow,
    ModelSamplingFlux,
    RescaleCFG,
    ModelComputeDtype,
)
