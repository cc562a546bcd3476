"""Sampling under the names that packs use. The methods, schedules and guidance are Weft's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from comfy.guider import CFGGuider, process_conds
from comfy.k_diffusion import sampling as k_diffusion_sampling
from comfy.sampler_methods import KSAMPLER, Sampler, ksampler, sampler_object
from comfy.seams import joined
from executor.inference import sample as _sample
from executor.inference import schedules
from executor.inference.guidance import calc_cond_batch
from executor.inference.guidance import sampling_function as _sampling_function
from executor.inference.samplers import SAMPLER_NAMES
from executor.inference.schedules import SCHEDULER_NAMES
from executor.inference.schedules import calculate_sigmas as _calculate_sigmas

__all__ = [
    "KSAMPLER", "SAMPLER_NAMES", "SCHEDULER_NAMES", "CFGGuider", "Sampler", "calc_cond_batch", "k_diffusion_sampling",
    "ksampler", "process_conds", "sampler_object",
]  # fmt: skip

KSAMPLER_NAMES = [name for name in SAMPLER_NAMES if name not in ("ddim", "uni_pc", "uni_pc_bh2")]

__getattr__ = joined(
    __name__,
    {
        "KSampler": _sample.make_ksampler,
        "calculate_sigmas": _calculate_sigmas,
        "sample": _sample.sample_conds,
        "sampling_function": _sampling_function,
    },
)


class SchedulerHandler(NamedTuple):
    """A schedule: called with (model_sampling, steps), or with n, sigma_min and sigma_max if it does not `use_ms`."""

    handler: Callable[..., Tensor]
    use_ms: bool = True


class _Handlers(dict[str, SchedulerHandler]):
    """The schedules by name; what is put in becomes one that nodes can use."""

    def __setitem__(self, name: str, handler: SchedulerHandler) -> None:
        super().__setitem__(name, handler)

        def schedule(sampling: object, steps: int) -> Tensor:
            if handler.use_ms:
                return handler.handler(sampling, steps)
            return handler.handler(n=steps, sigma_min=float(sampling.sigma_min), sigma_max=float(sampling.sigma_max))

        schedules.SCHEDULERS[name] = schedule

    def update(self, *given: Mapping[str, SchedulerHandler], **more: SchedulerHandler) -> None:
        for name, handler in dict(*given, **more).items():
            self[name] = handler


SCHEDULER_HANDLERS = _Handlers({name: SchedulerHandler(made) for name, made in schedules.SCHEDULERS.items()})

simple_scheduler = schedules.simple
ddim_scheduler = schedules.ddim_uniform
beta_scheduler = schedules.beta
linear_quadratic_schedule = schedules.linear_quadratic
kl_optimal_scheduler = schedules.kl_optimal


def normal_scheduler(model_sampling: object, steps: int, sgm: bool = False, floor: bool = False) -> Tensor:
    """Evenly spaced timesteps; `sgm` leaves the smallest sigma out."""
    return (schedules.sgm_uniform if sgm else schedules.normal)(model_sampling, steps)


def cfg_function(
    model: object, cond_pred: Tensor, uncond_pred: Tensor, cond_scale: float, x: Tensor, timestep: Tensor,
    model_options: Mapping[str, object] | None = None, cond: object = None, uncond: object = None,
) -> Tensor:  # fmt: skip
    """Both answers mixed at a scale, by the functions that the options hold where there are some."""
    options = model_options or {}
    arguments = {"input": x, "sigma": timestep, "timestep": timestep, "cond_scale": cond_scale, "model": model}
    arguments |= {"model_options": options, "cond_denoised": cond_pred, "uncond_denoised": uncond_pred}
    own = options.get("sampler_cfg_function")
    if own is not None:
        mixed = x - own({**arguments, "cond": x - cond_pred, "uncond": x - uncond_pred})
    else:
        mixed = uncond_pred + (cond_pred - uncond_pred) * cond_scale
    for function in options.get("sampler_post_cfg_function", []):
        mixed = function({**arguments, "cond": cond, "uncond": uncond, "denoised": mixed})
    return mixed
