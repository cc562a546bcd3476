"""Methods between two forms: Weft's functions on sigmas, and functions of k-diffusion's form as packs write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from comfy.handles import Alias
from executor.inference import samplers as core
from executor.inference.samplers import Callback, Model
from executor.inference.samplers.base import silent

Options = Mapping[str, object]
StepCallback = Callable[[int, Tensor, Tensor, int], None]
PACK_PREFIX = "sample_"


class Sampler:
    """The base of samplers that packs write themselves: they define `sample(model_wrap, sigmas, extra_args, ...)`."""

    def sample(self) -> None:
        """To be written by the subclass."""

    def max_denoise(self, model_wrap: object, sigmas: Tensor) -> bool:
        """Whether the first sigma is the model's largest."""
        largest = float(model_wrap.inner_model.model_sampling.sigma_max)
        return float(sigmas[0]) >= largest or abs(largest - float(sigmas[0])) <= 1e-5 * largest

    def as_method(self) -> core.Sampler:
        """What Weft runs of it."""
        return OwnSampling(self)


class PackMethod(core.Sampler):
    """A pack's way to sample, as Weft calls methods."""

    def __init__(self, name: str, options: Options | None = None) -> None:
        core.Sampler.__init__(self, name=name, function=self.run, options=dict(options or {}))

    def with_options(self, **options: object) -> PackMethod:
        """The same with some options set."""
        copy = object.__new__(type(self))
        for name, value in vars(self).items():
            object.__setattr__(copy, name, value)
        core.Sampler.__init__(copy, name=self.name, function=copy.run, options={**self.options, **options})
        return copy


class KSAMPLER(PackMethod, Sampler, metaclass=Alias):
    """A method of k-diffusion's form: `function(model, x, sigmas, extra_args, callback, disable, **options)`.

    Weft's own methods count as instances too.
    """

    core = core.Sampler

    def __init__(
        self, sampler_function: Callable[..., Tensor], extra_options: Options | None = None,
        inpaint_options: Options | None = None,
    ) -> None:  # fmt: skip
        vars(self).update(own_function=sampler_function, own_inpaint_options=dict(inpaint_options or {}))
        super().__init__(getattr(sampler_function, "__name__", type(sampler_function).__name__), extra_options)

    @property
    def sampler_function(self) -> Callable[..., Tensor]:
        """The pack's function."""
        return vars(self)["own_function"]

    @property
    def inpaint_options(self) -> Options:
        """The pack's options for masks."""
        return vars(self)["own_inpaint_options"]

    def run(
        self, model: Model, x: Tensor, sigmas: Sequence[float], *, seed: int = 0, callback: Callback = silent
    ) -> Tensor:
        """Sample x from sigmas[0] to sigmas[-1] by the pack's function."""
        if len(sigmas) < 2:
            return x

        def told(step: Mapping[str, object]) -> None:
            callback(int(step["i"]), step["x"], step["denoised"])

        wrapped = ModelForPacks(model)
        extra = {"model_options": {}, "seed": seed}
        levels = torch.tensor(list(sigmas), dtype=torch.float32, device=x.device)
        return self.sampler_function(wrapped, x, levels, extra_args=extra, callback=told, disable=True, **self.options)


class OwnSampling(PackMethod):
    """A sampler of a pack that samples all by itself, by its `sample`."""

    def __init__(self, sampler: Sampler) -> None:
        object.__setattr__(self, "inner", sampler)
        super().__init__(type(sampler).__name__)

    def run(
        self, model: Model, x: Tensor, sigmas: Sequence[float], *, seed: int = 0, callback: Callback = silent
    ) -> Tensor:
        """Let it sample; x, noised already, is its latents and there is no further noise."""
        levels = torch.tensor(list(sigmas), dtype=torch.float32, device=x.device)

        def told(step: int, denoised: Tensor, here: Tensor, total: int) -> None:
            callback(step, here, denoised)

        extra = {"model_options": {}, "seed": seed}
        return self.inner.sample(
            ModelForPacks(model), levels, extra, told, torch.zeros_like(x), latent_image=x, disable_pbar=True
        )


class ModelForPacks:
    """A guided model as functions of k-diffusion's form call it: model(x, sigma [B], **extra_args)."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.inner_model = self
        self.sigmas: Tensor | None = None

    def __getattr__(self, name: str) -> object:
        """What it lacks is asked of the guider, then of what lies behind the MODEL."""
        for source in (getattr(self._model, "guider", self._model), getattr(self.model_patcher, "model", None)):
            if not name.startswith("_") and hasattr(source, name):
                return getattr(source, name)
        raise AttributeError(f"a guided model has no {name!r}")

    @property
    def model_sampling(self) -> object:
        """Noise levels and prediction type."""
        return self._model.sampling

    @property
    def model_patcher(self) -> object:
        """The MODEL, where the guider knows it."""
        return getattr(self._model, "model_patcher", None)

    def __call__(
        self, x: Tensor, sigma: Tensor, model_options: Options | None = None, seed: int | None = None, **more: object
    ) -> Tensor:
        """The guided denoised latents of x."""
        level = float(sigma.flatten()[0].item()) if isinstance(sigma, Tensor) else float(sigma)
        hooks = (model_options or {}).get("sampler_post_cfg_function", [])
        if not hooks:
            return self._model(x, level)
        guided = self._model.both(x, level)
        levels = x.new_full((x.shape[0],), level)
        mixed = guided.denoised
        for hook in hooks:
            mixed = hook(
                {
                    "denoised": mixed, "cond_denoised": guided.denoised, "uncond_denoised": guided.unconditional,
                    "input": x, "sigma": levels, "timestep": levels, "model": self, "model_options": model_options,
                    "cond": None, "uncond": None, "cond_scale": None,
                }
            )  # fmt: skip
        return mixed


def ksampler(sampler_name: str, extra_options: Options | None = None, inpaint_options: Options | None = None) -> object:
    """A method by name, with options of its function."""
    return sampler_object(sampler_name).with_options(**(extra_options or {}))


def sampler_object(name: str) -> core.Sampler:
    """A method by name; UnknownName with the nearest one when there is none."""
    return core.sampler(name)
