"""Every sampler by name, with the noise it draws. The formulas are in the modules beside this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from torch import Tensor

from executor.errors import UnknownName
from executor.inference.noise import brownian_noise, following_noise, step_noise
from executor.inference.samplers import (
    adams,
    ancestry,
    cfg_pp,
    dpm_solver,
    dpmpp,
    dpmpp_sde,
    er_sde,
    euler,
    heun,
    k_diffusion,
    res,
    sa_solver,
    seeds,
    uni_pc,
)
from executor.inference.samplers.base import Callback, Guided, Model, Sigmas, silent

__all__ = ["SAMPLERS", "SAMPLER_NAMES", "Callback", "Guided", "Model", "Noise", "Sampler", "Sigmas", "sampler"]


class Noise(Enum):
    """What a sampler draws while it runs."""

    NONE = "none"
    STEPS = "independent per step"
    PATH = "a Brownian path, drawn on the CPU"
    DEVICE_PATH = "a Brownian path, drawn on the latent's device"
    FOLLOWING = "what follows the start noise, in any shape"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """A sampling method with its options, ready to run."""

    name: str
    function: Callable[..., Tensor]
    noise: Noise = Noise.NONE
    options: Mapping[str, object] = field(default_factory=dict)
    redraws_kept_noise: bool = False  # under a mask, see sample.REDRAWN_SEED_OFFSET

    def with_options(self, **options: object) -> Sampler:
        """The same method with some options set."""
        return replace(self, options={**self.options, **options})

    # ---------------------------------------------------------------- as packs use it

    @property
    def draws(self) -> bool:
        """Whether it draws noise while it runs."""
        return self.noise is not Noise.NONE

    @property
    def sampler_function(self) -> Callable[..., Tensor]:
        """The method in the form that packs call, k-diffusion's."""
        return k_diffusion.function_of(self)

    @property
    def extra_options(self) -> Mapping[str, object]:
        """The options of the method."""
        return self.options

    @property
    def inpaint_options(self) -> Mapping[str, object]:
        """Options for masks: none."""
        return {}

    def sample(
        self,
        model_wrap: object,
        sigmas: Tensor,
        extra_args: Mapping[str, object],
        callback: Callable[[int, Tensor, Tensor, int], object] | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        """Sample from noise and latents with a model that packs have wrapped."""
        return k_diffusion.sample_wrapped(self, model_wrap, sigmas, extra_args, callback, noise, latent_image)

    # ---------------------------------------------------------------- as Weft uses it

    def run(self, model: Model, x: Tensor, sigmas: Sigmas, *, seed: int = 0, callback: Callback = silent) -> Tensor:
        """Sample x from sigmas[0] to sigmas[-1]; `seed` is for the noise drawn on the way."""
        if len(sigmas) < 2:
            return x
        options = dict(self.options)
        if self.noise is Noise.STEPS:
            options["noise"] = step_noise(x, seed)
        elif self.noise is Noise.FOLLOWING:
            options["noise"] = following_noise(x, seed)
        elif self.noise is not Noise.NONE:
            options["noise"] = brownian_noise(x, seed, sigmas, on_cpu=self.noise is Noise.PATH)
        return self.function(model, x, sigmas, callback=callback, **options)


_METHODS: tuple[tuple[str, Callable[..., Tensor], Noise], ...] = (
    ("euler", euler.euler, Noise.NONE),
    ("euler_cfg_pp", cfg_pp.euler_cfg_pp, Noise.NONE),
    ("euler_ancestral", euler.euler_ancestral, Noise.STEPS),
    ("euler_ancestral_cfg_pp", cfg_pp.euler_ancestral_cfg_pp, Noise.STEPS),
    ("heun", heun.heun, Noise.NONE),
    ("heunpp2", heun.heunpp2, Noise.NONE),
    ("dpm_2", heun.dpm_2, Noise.NONE),
    ("dpm_2_ancestral", heun.dpm_2_ancestral, Noise.STEPS),
    ("lms", adams.lms, Noise.NONE),
    ("dpm_fast", dpm_solver.dpm_fast, Noise.NONE),
    ("dpm_adaptive", dpm_solver.dpm_adaptive, Noise.STEPS),
    ("dpmpp_2s_ancestral", dpmpp.dpmpp_2s_ancestral, Noise.STEPS),
    ("dpmpp_2s_ancestral_cfg_pp", cfg_pp.dpmpp_2s_ancestral_cfg_pp, Noise.STEPS),
    ("dpmpp_sde", dpmpp_sde.dpmpp_sde, Noise.PATH),
    ("dpmpp_sde_gpu", dpmpp_sde.dpmpp_sde, Noise.DEVICE_PATH),
    ("dpmpp_2m", dpmpp.dpmpp_2m, Noise.NONE),
    ("dpmpp_2m_cfg_pp", cfg_pp.dpmpp_2m_cfg_pp, Noise.NONE),
    ("dpmpp_2m_sde", dpmpp_sde.dpmpp_2m_sde, Noise.PATH),
    ("dpmpp_2m_sde_gpu", dpmpp_sde.dpmpp_2m_sde, Noise.DEVICE_PATH),
    ("dpmpp_2m_sde_heun", dpmpp_sde.dpmpp_2m_sde_heun, Noise.PATH),
    ("dpmpp_2m_sde_heun_gpu", dpmpp_sde.dpmpp_2m_sde_heun, Noise.DEVICE_PATH),
    ("dpmpp_3m_sde", dpmpp_sde.dpmpp_3m_sde, Noise.PATH),
    ("dpmpp_3m_sde_gpu", dpmpp_sde.dpmpp_3m_sde, Noise.DEVICE_PATH),
    ("ddpm", ancestry.ddpm, Noise.STEPS),
    ("lcm", ancestry.lcm, Noise.STEPS),
    ("ipndm", adams.ipndm, Noise.NONE),
    ("ipndm_v", adams.ipndm_v, Noise.NONE),
    ("deis", adams.deis, Noise.NONE),
    ("res_multistep", res.res_multistep, Noise.NONE),
    ("res_multistep_cfg_pp", cfg_pp.res_multistep_cfg_pp, Noise.NONE),
    ("res_multistep_ancestral", res.res_multistep_ancestral, Noise.STEPS),
    ("res_multistep_ancestral_cfg_pp", cfg_pp.res_multistep_ancestral_cfg_pp, Noise.STEPS),
    ("gradient_estimation", res.gradient_estimation, Noise.NONE),
    ("gradient_estimation_cfg_pp", cfg_pp.gradient_estimation_cfg_pp, Noise.NONE),
    ("er_sde", er_sde.er_sde, Noise.STEPS),
    ("seeds_2", seeds.seeds_2, Noise.STEPS),
    ("seeds_3", seeds.seeds_3, Noise.STEPS),
    ("sa_solver", sa_solver.sa_solver, Noise.STEPS),
    ("sa_solver_pece", sa_solver.sa_solver_pece, Noise.STEPS),
    # eta 0 and no mask: DDIM on sigmas is Euler's method (Song et al. 2021, arXiv:2010.02502, eq. 14)
    ("ddim", euler.euler, Noise.NONE),
    ("uni_pc", uni_pc.uni_pc, Noise.NONE),
    ("uni_pc_bh2", uni_pc.uni_pc_bh2, Noise.NONE),
)

SAMPLERS: dict[str, Sampler] = {
    name: Sampler(name=name, function=function, noise=noise, redraws_kept_noise=name == "ddim")
    for name, function, noise in _METHODS
}

SAMPLER_NAMES: list[str] = list(SAMPLERS)
"""The samplers that nodes offer; packs add to the list and to the table."""


def sampler(name: str) -> Sampler:
    """The sampler of this name; raises UnknownName with the nearest one when there is none."""
    if name not in SAMPLERS:
        raise UnknownName("sampler", name, SAMPLERS)
    return SAMPLERS[name]
