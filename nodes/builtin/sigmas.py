"""Nodes that make noise levels (SIGMAS), cut them and put others in. The maths is executor.inference's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from executor.inference import schedules, searched_levels, sigma_tables
from executor.inference.schedules import SCHEDULER_NAMES, ksampler_sigmas
from executor.inference.sigma_tables import SPACINGS
from nodes.builtin.inputs import InputTypes, choice, combo, decimal, flag, integer, socket

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.values import Latent

PACK = "comfy_extras.nodes_custom_sampler"
SCHEDULES = "sampling/custom_sampling/schedulers"
EDITING = "sampling/custom_sampling/sigmas"
MOST_STEPS = 10000
STEPS = integer(20, 1, MOST_STEPS)
HIGHEST = decimal(14.614642, 0.0, 5000.0, round=False)
LOWEST = decimal(0.0291675, 0.0, 5000.0, round=False)

# A turbo model was trained at ten timesteps, the last of each hundred (Sauer et al. 2023, arXiv:2311.17042).
TURBO_LEVELS, TURBO_STRIDE = 10, 100

# Sabour et al. 2024, arXiv:2404.14507; the digits are those of numeric/scheduler_nodes, AlignYourStepsScheduler/*.
ALIGNED: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "SD1": (
            14.614641189575195, 6.474575996398926, 3.8636746406555176, 2.694615125656128, 1.8841921091079712,
            1.3943804502487183, 0.9642583727836609, 0.6523686051368713, 0.39774563908576965, 0.15152326226234436,
            0.029167159,
        ),
        "SDXL": (
            14.614641189575195, 6.318448543548584, 3.768178939819336, 2.181148052215576, 1.340524435043335,
            0.8620721101760864, 0.5550693273544312, 0.37985408306121826, 0.2332364171743393, 0.11141882091760635,
            0.029167159,
        ),
        "SVD": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
    }
)  # fmt: skip


class BasicScheduler:
    """Noise levels of a model by a scheduler's name."""

    PACK = PACK
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "scheduler": choice(SCHEDULER_NAMES),
                "steps": STEPS,
                "denoise": decimal(1.0, 0.0, 1.0),
            }
        }

    def get_sigmas(self, model: ModelHandle, scheduler: str, steps: int, denoise: float) -> tuple[Tensor]:
        """The last `steps` steps of a longer table where `denoise` is below one; UnknownName for no such scheduler."""
        return (ksampler_sigmas(model.model_sampling, scheduler, "", steps, denoise),)


class KarrasScheduler:
    """Noise levels that lie denser towards zero, the more so the larger rho."""

    PACK = PACK
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        rho = decimal(7.0, 0.0, 100.0, round=False)
        return {"required": {"steps": STEPS, "sigma_max": HIGHEST, "sigma_min": LOWEST, "rho": rho}}

    def get_sigmas(self, steps: int, sigma_max: float, sigma_min: float, rho: float) -> tuple[Tensor]:
        """The table [steps + 1]."""
        return (sigma_tables.karras(steps, sigma_max, sigma_min, rho),)


class ExponentialScheduler:
    """Noise levels with even steps of their logarithm."""

    PACK = PACK
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"steps": STEPS, "sigma_max": HIGHEST, "sigma_min": LOWEST}}

    def get_sigmas(self, steps: int, sigma_max: float, sigma_min: float) -> tuple[Tensor]:
        """The table [steps + 1]."""
        return (sigma_tables.exponential(steps, sigma_max, sigma_min),)


class PolyexponentialScheduler:
    """Noise levels with steps of their logarithm that grow with a power."""

    PACK = PACK
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        rho = decimal(1.0, 0.0, 100.0, round=False)
        return {"required": {"steps": STEPS, "sigma_max": HIGHEST, "sigma_min": LOWEST, "rho": rho}}

    def get_sigmas(self, steps: int, sigma_max: float, sigma_min: float, rho: float) -> tuple[Tensor]:
        """The table [steps + 1]."""
        return (sigma_tables.polyexponential(steps, sigma_max, sigma_min, rho),)


class LaplaceScheduler:
    """Noise levels that lie densest around exp(mu)."""

    PACK = PACK
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "steps": STEPS,
                "sigma_max": HIGHEST,
                "sigma_min": LOWEST,
                "mu": decimal(0.0, -10.0, 10.0, 0.1, round=False),
                "beta": decimal(0.5, 0.0, 10.0, 0.1, round=False),
            }
        }

    def get_sigmas(self, steps: int, sigma_max: float, sigma_min: float, mu: float, beta: float) -> tuple[Tensor]:
        """The table [steps], without a zero at its end."""
        return (sigma_tables.laplace(steps, sigma_max, sigma_min, mu, beta),)


class VPScheduler:
    """Noise levels of the variance-preserving diffusion in continuous time."""

    PACK = PACK
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "steps": STEPS,
                "beta_d": decimal(19.9, 0.0, 5000.0, round=False),
                "beta_min": decimal(0.1, 0.0, 5000.0, round=False),
                "eps_s": decimal(0.001, 0.0, 1.0, 0.0001, round=False),
            }
        }

    def get_sigmas(self, steps: int, beta_d: float, beta_min: float, eps_s: float) -> tuple[Tensor]:
        """The table [steps + 1]."""
        return (sigma_tables.variance_preserving(steps, beta_d, beta_min, eps_s),)


class BetaSamplingScheduler:
    """Noise levels of a model at quantiles of a beta distribution."""

    PACK = PACK
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        shape = decimal(0.6, 0.0, 50.0, round=False)
        return {"required": {"model": socket("MODEL"), "steps": STEPS, "alpha": shape, "beta": shape}}

    def get_sigmas(self, model: ModelHandle, steps: int, alpha: float, beta: float) -> tuple[Tensor]:
        """The table; repeats are dropped."""
        return (schedules.beta(model.model_sampling, steps, alpha, beta),)


class SDTurboScheduler:
    """Noise levels that SD and SDXL Turbo were trained at."""

    PACK = PACK
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": socket("MODEL"), "steps": integer(1, 1, 10), "denoise": decimal(1.0, 0, 1.0)}}

    def get_sigmas(self, model: ModelHandle, steps: int, denoise: float) -> tuple[Tensor]:
        """The table; fewer steps where `denoise` leaves no more."""
        skipped = TURBO_LEVELS - int(TURBO_LEVELS * denoise)
        levels = range(TURBO_LEVELS - skipped, 0, -1)[:steps]
        times = torch.tensor([level * TURBO_STRIDE - 1 for level in levels], dtype=torch.float32)
        return (sigma_tables.with_zero(model.model_sampling.sigma(times)),)


class AlignYourStepsScheduler:
    """Noise levels that were searched for a model family at ten steps."""

    PACK = "comfy_extras.nodes_align_your_steps"
    LISTING = "v3"
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model_type": combo(list(ALIGNED)),
                "steps": integer(10, 1, MOST_STEPS),
                "denoise": decimal(1.0, 0.0, 1.0),
            }
        }

    def get_sigmas(self, model_type: str, steps: int, denoise: float) -> tuple[Tensor]:
        """The table for any number of steps, the end of it where `denoise` is below one."""
        levels = sigma_tables.log_interpolated(ALIGNED[model_type], steps + 1)
        return (sigma_tables.last_steps(levels, steps if denoise >= 1.0 else round(steps * denoise)),)


class GITSScheduler:
    """Noise levels that were searched for by the shape of sampling paths, by a coefficient."""

    PACK = "comfy_extras.nodes_gits"
    LISTING = "v3"
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "coeff": decimal(1.2, 0.8, 1.5, 0.05),
                "steps": integer(10, 2, 1000),
                "denoise": decimal(1.0, 0.0, 1.0),
            }
        }

    def get_sigmas(self, coeff: float, steps: int, denoise: float) -> tuple[Tensor]:
        """The table of the nearest coefficient, that of most steps for more of them; its end below a denoise of one."""
        nearest = min(searched_levels.GITS_PLACES, key=lambda known: abs(known - coeff))
        found = searched_levels.gits(nearest, min(steps, searched_levels.GITS_MOST_STEPS))
        levels = sigma_tables.log_interpolated(found, steps + 1)
        return (sigma_tables.last_steps(levels, round(steps * denoise)),)


class OptimalStepsScheduler:
    """Noise levels that were searched for a model to do with few steps."""

    PACK = "comfy_extras.nodes_optimalsteps"
    LISTING = "v3"
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model_type": combo(list(searched_levels.OPTIMAL)),
                "steps": integer(20, 3, 1000),
                "denoise": decimal(1.0, 0.0, 1.0),
            }
        }

    def get_sigmas(self, model_type: str, steps: int, denoise: float) -> tuple[Tensor]:
        """The table for any number of steps, the end of it where `denoise` is below one."""
        levels = sigma_tables.log_interpolated(searched_levels.optimal(model_type), steps + 1)
        return (sigma_tables.last_steps(levels, round(steps * denoise)),)


class LTXVScheduler:
    """Noise levels of LTX-Video, whose upper ones lie the closer the more cells there are."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_lt"
    CATEGORY = SCHEDULES
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "steps": STEPS,
                "max_shift": decimal(2.05, 0.0, 100.0),
                "base_shift": decimal(0.95, 0.0, 100.0),
                "stretch": flag(default=True),
                "terminal": decimal(0.1, 0.0, 0.99),
            },
            "optional": {"latent": ("LATENT", {})},
        }

    def get_sigmas(
        self,
        steps: int,
        max_shift: float,
        base_shift: float,
        stretch: bool,
        terminal: float,
        latent: Latent | None = None,
    ) -> tuple[Tensor]:
        """The table [steps + 1]; without a latent that of the largest shift."""
        cells = sigma_tables.LTX_CELLS[1] if latent is None else math.prod(latent["samples"].shape[2:])
        shift = sigma_tables.ltx_shift(cells, base_shift, max_shift)
        return (sigma_tables.exponential_flow(steps, shift, terminal if stretch else None),)


class SplitSigmas:
    """Cuts noise levels at a step."""

    PACK = PACK
    CATEGORY = EDITING
    RETURN_TYPES = ("SIGMAS", "SIGMAS")
    RETURN_NAMES = ("high_sigmas", "low_sigmas")
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"sigmas": socket("SIGMAS"), "step": integer(0, 0, MOST_STEPS)}}

    def get_sigmas(self, sigmas: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """What comes before the step and what comes from it on."""
        return sigma_tables.split(sigmas, step)


class SplitSigmasDenoise:
    """Cuts noise levels so that a share of the steps comes after the cut."""

    PACK = PACK
    CATEGORY = EDITING
    RETURN_TYPES = ("SIGMAS", "SIGMAS")
    RETURN_NAMES = ("high_sigmas", "low_sigmas")
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"sigmas": socket("SIGMAS"), "denoise": decimal(1.0, 0.0, 1.0)}}

    def get_sigmas(self, sigmas: Tensor, denoise: float) -> tuple[Tensor, Tensor]:
        """What comes before the cut and what comes after it."""
        return sigma_tables.split_share(sigmas, denoise)


class FlipSigmas:
    """Turns noise levels round, for a sampling that goes from a picture to noise."""

    PACK = PACK
    CATEGORY = EDITING
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "get_sigmas"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"sigmas": socket("SIGMAS")}}

    def get_sigmas(self, sigmas: Tensor) -> tuple[Tensor]:
        """The levels from the last to the first."""
        return (sigma_tables.flipped(sigmas),)


class SetFirstSigma:
    """Puts another first noise level in."""

    PACK = PACK
    CATEGORY = EDITING
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "set_first_sigma"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        sigma = decimal(136.0, 0.0, 20000.0, 0.001, round=False)
        return {"required": {"sigmas": socket("SIGMAS"), "sigma": sigma}}

    def set_first_sigma(self, sigmas: Tensor, sigma: float) -> tuple[Tensor]:
        """The changed levels; the given ones stay."""
        return (sigma_tables.with_first(sigmas, sigma),)


class ExtendIntermediateSigmas:
    """Puts further noise levels between those of a range."""

    PACK = PACK
    CATEGORY = EDITING
    RETURN_TYPES = ("SIGMAS",)
    FUNCTION = "extend"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "sigmas": socket("SIGMAS"),
                "steps": integer(2, 1, 100),
                "start_at_sigma": decimal(-1.0, -1.0, 20000.0, round=False),
                "end_at_sigma": decimal(12.0, 0.0, 20000.0, round=False),
                "spacing": choice(list(SPACINGS)),
            }
        }

    def extend(
        self, sigmas: Tensor, steps: int, start_at_sigma: float, end_at_sigma: float, spacing: str
    ) -> tuple[Tensor]:
        """The longer table."""
        return (sigma_tables.extended(sigmas, steps, start_at_sigma, end_at_sigma, spacing),)


class SamplingPercentToSigma:
    """The noise level at which a share of a model's sampling is done."""

    PACK = PACK
    CATEGORY = EDITING
    RETURN_TYPES = ("FLOAT",)
    RETURN_NAMES = ("sigma_value",)
    FUNCTION = "get_sigma"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "sampling_percent": decimal(0.0, 0.0, 1.0, 0.0001),
                "return_actual_sigma": flag(default=False),
            }
        }

    def get_sigma(self, model: ModelHandle, sampling_percent: float, return_actual_sigma: bool) -> tuple[float]:
        """At both ends a level beyond all others, or the model's own largest and smallest one."""
        sampling = model.model_sampling
        if return_actual_sigma and sampling_percent in (0.0, 1.0):
            return (float(sampling.sigma_max if sampling_percent == 0.0 else sampling.sigma_min),)
        return (float(sampling.percent_to_sigma(sampling_percent)),)


NODES = (
    BasicScheduler,
    KarrasScheduler,
    ExponentialScheduler,
    PolyexponentialScheduler,
    LaplaceScheduler,
    VPScheduler,
    BetaSamplingScheduler,
    SDTurboScheduler,
    AlignYourStepsScheduler,
    GITSScheduler,
    OptimalStepsScheduler,
    LTXVScheduler,
    SplitSigmas,
    SplitSigmasDenoise,
    FlipSigmas,
    SetFirstSigma,
    ExtendIntermediateSigmas,
    SamplingPercentToSigma,
)
