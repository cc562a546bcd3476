"""Methods in the form that packs know, k-diffusion's: function(model, x, sigmas, extra_args, callback, disable, …).

There a model is called as model(x, sigma [B], **extra_args) and sigmas are a tensor. Knows no method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from executor.inference.crossing import levels_like
from executor.inference.denoiser import ModelSampling, discrete_eps
from executor.inference.samplers.base import Guided

if TYPE_CHECKING:
    from executor.inference.samplers import Sampler

ModelCall = Callable[..., Tensor]
NoiseSampler = Callable[[Tensor, Tensor], Tensor]
StepCallback = Callable[[Mapping[str, object]], object]
DEEPEST_WRAP = 4


class CalledModel:
    """What packs' code calls a model, as Weft's methods call one."""

    def __init__(self, model: ModelCall, extra_args: Mapping[str, Any]) -> None:
        self._model, self._extra, self._sampling = model, dict(extra_args), model_sampling_of(model)

    @property
    def sampling(self) -> ModelSampling:
        """Noise levels and kind of path of the model."""
        return self._sampling

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The denoised latents of x."""
        return self._model(x, levels_like(x, sigma), **self._extra)

    def both(self, x: Tensor, sigma: float) -> Guided:
        """The denoised latents and the unconditional ones, caught on their way."""
        caught: list[Tensor] = []

        def catch(given: Mapping[str, Tensor]) -> Tensor:
            caught.append(given["uncond_denoised"])
            return given["denoised"]

        options = dict(self._extra.get("model_options") or {})
        options["sampler_post_cfg_function"] = [*options.get("sampler_post_cfg_function", []), catch]
        options["disable_cfg1_optimization"] = True
        extra = {**self._extra, "model_options": options}
        denoised = self._model(x, levels_like(x, sigma), **extra)
        return Guided(denoised, caught[-1] if caught else denoised)


def function_of(method: Sampler) -> Callable[..., Tensor]:
    """A method of Weft in this form."""

    def sample(
        model: ModelCall,
        x: Tensor,
        sigmas: Tensor,
        extra_args: Mapping[str, Any] | None = None,
        callback: StepCallback | None = None,
        disable: bool | None = None,
        noise_sampler: NoiseSampler | None = None,
        **options: object,
    ) -> Tensor:
        """Sample x [B, ...] from sigmas[0] to sigmas[-1]."""
        called = CalledModel(model, extra_args or {})
        levels: list[float] = sigmas.tolist()

        def told(step: int, here: Tensor, denoised: Tensor) -> None:
            if callback is not None:
                sigma = sigmas[min(step, len(sigmas) - 1)]
                callback({"x": here, "i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})

        if not method.draws or noise_sampler is None:
            seed = int((extra_args or {}).get("seed") or 0)
            return method.with_options(**options).run(called, x, levels, seed=seed, callback=told)

        def draw(sigma: float, sigma_next: float) -> Tensor:
            return noise_sampler(x.new_tensor(sigma), x.new_tensor(sigma_next))

        return method.function(called, x, levels, callback=told, noise=draw, **{**method.options, **options})

    sample.__name__ = sample.__qualname__ = f"sample_{method.name}"
    return sample


def sample_wrapped(
    method: Sampler,
    model_wrap: object,
    sigmas: Tensor,
    extra_args: Mapping[str, object],
    callback: Callable[[int, Tensor, Tensor, int], object] | None,
    noise: Tensor,
    latent_image: Tensor | None = None,
) -> Tensor:
    """Sample from noise and latents with a wrapped model; noise is scaled as the model's sampling says."""
    sampling = model_sampling_of(model_wrap)
    latent = torch.zeros_like(noise) if latent_image is None else latent_image
    first, last = float(sigmas[0]), float(sigmas[-1])
    x = sampling.noise_scaling(first, noise, latent, first >= sampling.sigma_max * (1 - 1e-5))

    def told(step: Mapping[str, object]) -> None:
        if callback is not None:
            given = cast("Mapping[str, Any]", step)
            callback(int(given["i"]), given["denoised"], given["x"], len(sigmas) - 1)

    function: Callable[..., Tensor] = method.sampler_function
    x = function(model_wrap, x, sigmas, extra_args=dict(extra_args), callback=told, disable=True, **method.options)
    return sampling.inverse_noise_scaling(last, x)


def model_sampling_of(model: object) -> ModelSampling:
    """The noise levels behind a wrapped model, or those of SD1.x where none are found."""
    for _ in range(DEEPEST_WRAP):
        found = getattr(model, "model_sampling", None)
        if isinstance(found, ModelSampling):
            return found
        model = getattr(model, "inner_model", None)
    return discrete_eps()
