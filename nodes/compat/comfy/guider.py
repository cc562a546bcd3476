"""The guider that packs subclass: conditions by name, a scale, and `predict_noise` to be replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from comfy.sampler_helpers import as_conditioning, convert_cond
from comfy.sampler_methods import method_of
from executor.errors import NodeInputError
from executor.inference.conditions import Condition
from executor.inference.denoising import Sides, resolved, sample_with
from executor.inference.guidance import sampling_function
from executor.inference.samplers import Guided
from executor.inference.values import Latent
from executor.inference.wrappers import PREDICT_NOISE, WrapperExecutor, functions

StepCallback = Callable[[int, Tensor, Tensor, int], None]


class CFGGuider:
    """A MODEL with conditions and a scale."""

    def __init__(self, model_patcher: object) -> None:
        self.model_patcher = model_patcher
        self.model_options = model_patcher.model_options
        self.original_conds: dict[str, list[dict[str, object]]] = {}
        self.conds: Sides = {}
        self.inner_model: object = None
        self.cfg = 1.0
        self.loaded_models: list[object] = []

    def set_conds(self, positive: Sequence[object], negative: Sequence[object]) -> None:
        """Set both sides."""
        self.inner_set_conds({"positive": positive, "negative": negative})

    def set_cfg(self, cfg: float) -> None:
        """Set the scale."""
        self.cfg = cfg

    def inner_set_conds(self, conds: Mapping[str, Sequence[object]]) -> None:
        """Set conditionings by name."""
        for name, conditioning in conds.items():
            self.original_conds[name] = convert_cond(conditioning)

    def __call__(self, *args: object, **kwargs: object) -> Tensor:
        """`predict_noise`, with the functions around it that the options hold."""
        options = kwargs.get("model_options", args[2] if len(args) > 2 else self.model_options)
        inner = WrapperExecutor.new_class_executor(self.predict_noise, self, functions(PREDICT_NOISE, options))
        return inner.execute(*args, **kwargs)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: Mapping[str, object] | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided denoised latents of x at sigmas `timestep` [B]."""
        return sampling_function(
            self.inner_model, x, timestep, self.conds.get("negative"), self.conds.get("positive"), self.cfg,
            model_options=model_options or {}, seed=seed,
        )  # fmt: skip

    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler: object, sigmas: Tensor, denoise_mask: Tensor | None = None,
        callback: StepCallback | None = None, disable_pbar: bool = False, seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The finished latents [B, C, H, W], on the CPU."""
        if len(sigmas) < 2:
            return latent_image
        handle = self.model_patcher
        if self.model_options is not handle.model_options:
            handle = handle.clone()
            handle.model_options = self.model_options
        latent: Latent = {"samples": latent_image}
        if denoise_mask is not None:
            latent["noise_mask"] = denoise_mask
        total = len(sigmas) - 1

        def on_step(index: int, x: Tensor, denoised: Tensor) -> None:
            if callback is not None:
                callback(index, denoised, x, total)

        def make(sides: Sides, options: dict[str, object]) -> GuidedByPack:
            self.conds, self.inner_model = sides, handle.model
            return GuidedByPack(self, options, seed)

        given = {name: as_conditioning(conds) for name, conds in self.original_conds.items()}
        method = method_of(sampler)
        try:
            return sample_with(
                handle, latent, noise, sigmas, method, given, make, seed=seed or 0, on_step=on_step
            )[0]  # fmt: skip
        finally:
            self.conds, self.inner_model = {}, None


class GuidedByPack:
    """A guider as Weft's methods call a model."""

    def __init__(self, guider: CFGGuider, options: dict[str, object], seed: int | None) -> None:
        self.guider, self.options, self.seed = guider, options, seed
        self.sampling = guider.inner_model.model_sampling
        self.model_patcher = guider.model_patcher

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided denoised latents of x."""
        levels = x.new_full((x.shape[0],), sigma)
        return self.guider(x, levels, model_options=self.options, seed=self.seed)

    def both(self, x: Tensor, sigma: float) -> Guided:
        """The same with the unconditional latents, caught on their way."""
        caught: dict[str, Tensor] = {}

        def catch(given: Mapping[str, Tensor]) -> Tensor:
            caught["uncond"] = given["uncond_denoised"]
            return given["denoised"]

        hooks = [*self.options.get("sampler_post_cfg_function", []), catch]
        options = {**self.options, "sampler_post_cfg_function": hooks, "disable_cfg1_optimization": True}
        levels = x.new_full((x.shape[0],), sigma)
        denoised = self.guider(x, levels, model_options=options, seed=self.seed)
        return Guided(denoised, caught.get("uncond", denoised))


def process_conds(
    model: object, noise: Tensor, conds: Mapping[str, Sequence[object]], device: torch.device | None = None,
    latent_image: Tensor | None = None, denoise_mask: Tensor | None = None, seed: int | None = None,
    **options: object,
) -> dict[str, list[Condition]]:  # fmt: skip
    """Conditions that fit latents of the noise's shape."""
    handle = getattr(model, "current_patcher", None)
    if handle is None:
        raise NodeInputError("conditions are made ready for a MODEL that is loaded")
    return resolved(handle, noise.shape, {name: as_conditioning(cond) for name, cond in conds.items()})
