"""k-diffusion's names: its small functions, and `sample_<name>` for each of Weft's methods, in its form.

A function `sample_<name>` that a pack puts here becomes the sampler of that name.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from comfy.sampler_methods import KSAMPLER, PACK_PREFIX
from comfy.seams import SeamModule, joined
from executor.inference import noise as core_noise
from executor.inference import samplers as core
from executor.inference.samplers.base import variance_split

_SEAMS = {"default_noise_sampler": core_noise.step_noise}
_stand_in = joined(__name__, _SEAMS)


class _Module(SeamModule):
    """This module; functions named `sample_…` that are put here become samplers."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name.startswith(PACK_PREFIX) and callable(value):
            method = name.removeprefix(PACK_PREFIX)
            core.SAMPLERS[method] = KSAMPLER(value)


sys.modules[__name__].__class__ = _Module


def __getattr__(name: str) -> object:
    method = name.removeprefix(PACK_PREFIX)
    if name != method and method in core.SAMPLERS:
        return core.SAMPLERS[method].sampler_function
    return _stand_in(name)


def append_zero(x: Tensor) -> Tensor:
    """x with a zero at its end."""
    return torch.cat([x, x.new_zeros([1])])


def append_dims(x: Tensor, target_dims: int) -> Tensor:
    """x with dimensions of one behind it, up to so many; ValueError where it has more."""
    missing = target_dims - x.ndim
    if missing < 0:
        raise ValueError(f"a tensor of {x.ndim} dimensions cannot be brought to {target_dims}")
    return x.reshape(x.shape + (1,) * missing)


def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx / dsigma (Karras et al. 2022, arXiv:2206.00364, eq. 3)."""
    return (x - denoised) / append_dims(sigma, x.ndim)


def get_ancestral_step(sigma_from: Tensor, sigma_to: Tensor, eta: float = 1.0) -> tuple[object, object]:
    """The noise level to step down to, and how much noise to add (`samplers.base.variance_split`)."""
    if not eta:
        return sigma_to, 0.0
    split = variance_split(float(sigma_from), float(sigma_to), eta)
    if isinstance(sigma_to, Tensor):
        return sigma_to.new_tensor(split.down), sigma_to.new_tensor(split.up)
    return split.down, split.up


def get_sigmas_karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0, device: object = "cpu") -> Tensor:
    """Karras et al. 2022, eq. 5, then zero."""
    low, high = float(sigma_min) ** (1 / rho), float(sigma_max) ** (1 / rho)
    return append_zero((high + torch.linspace(0, 1, n, device=device) * (low - high)) ** rho).to(device)


def get_sigmas_exponential(n: int, sigma_min: float, sigma_max: float, device: object = "cpu") -> Tensor:
    """Even spacing of log sigma, then zero."""
    return append_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), n, device=device).exp())


def get_sigmas_polyexponential(
    n: int, sigma_min: float, sigma_max: float, rho: float = 1.0, device: object = "cpu"
) -> Tensor:
    """Polynomial spacing of log sigma, then zero."""
    ramp = torch.linspace(1, 0, n, device=device) ** rho
    low, high = math.log(sigma_min), math.log(sigma_max)
    return append_zero(torch.exp(ramp * (high - low) + low))


def get_sigmas_vp(
    n: int, beta_d: float = 19.9, beta_min: float = 0.1, eps_s: float = 1e-3, device: object = "cpu"
) -> Tensor:
    """The continuous VP schedule (Song et al. 2021, arXiv:2011.13456), then zero."""
    t = torch.linspace(1, eps_s, n, device=device)
    return append_zero(torch.sqrt(torch.special.expm1(beta_d * t**2 / 2 + beta_min * t)))


class BrownianTreeNoiseSampler:
    """Unit noise of a Brownian path between two sigmas; with a list of seeds one path for each item of the batch."""

    def __init__(
        self, x: Tensor, sigma_min: float, sigma_max: float, seed: int | Sequence[int] | None = None,
        transform: Callable[[Tensor], Tensor] = lambda sigma: sigma, cpu: bool = False,
    ) -> None:  # fmt: skip
        self.transform = transform
        ends = sorted(float(transform(torch.as_tensor(sigma))) for sigma in (sigma_min, sigma_max))
        if seed is None:
            seed = int(torch.randint(0, 2**63 - 1, []).item())
        items = [x] if not isinstance(seed, list | tuple) else list(x.split(1))
        seeds = [seed] if not isinstance(seed, list | tuple) else list(seed)
        made = zip(items, seeds, strict=True)
        self._paths = [core_noise.brownian_noise(item, int(each), ends, on_cpu=cpu) for item, each in made]

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """The noise of a step."""
        start, end = (float(self.transform(torch.as_tensor(each))) for each in (sigma, sigma_next))
        return torch.cat([path(start, end) for path in self._paths])
