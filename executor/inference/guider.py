"""The GUIDER that nodes and packs hand around: a MODEL, conditionings by name and a way to mix their answers.

Method names and arguments are the ecosystem's (reference/custom_node_surface.md). Knows no sampler's formula.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.crossing import levels_like
from executor.inference.denoising import Sides, sample_with
from executor.inference.guidance import Denoiser, calc_cond_batch, corrected, sampling_function
from executor.inference.guidance_rules import perpendicular
from executor.inference.samplers import Guided, Sampler
from executor.inference.values import Conditioning, Latent
from executor.inference.wrappers import PREDICT_NOISE, WrapperExecutor, functions

if TYPE_CHECKING:
    from executor.inference.denoiser import ModelSampling
    from executor.inference.handle import ModelHandle

StepCallback: TypeAlias = Callable[[int, Tensor, Tensor, int], object]
Options: TypeAlias = Mapping[str, object]
Entries: TypeAlias = list[dict[str, object]]
"""A CONDITIONING as packs see it in a guider: dictionaries, the embedding under `cross_attn`."""


class CFGGuider:
    """A MODEL with a positive and a negative side and a scale; packs subclass it and replace `predict_noise`."""

    def __init__(self, model_patcher: ModelHandle) -> None:
        self.model_patcher = model_patcher
        self.model_options: Options = model_patcher.model_options
        self.original_conds: dict[str, Entries] = {}
        self.conds: Sides = {}
        self.inner_model: Denoiser | None = None
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
            self.original_conds[name] = convert_cond(cast("Sequence[Sequence[object]]", conditioning))

    def __call__(self, *args: object, **kwargs: object) -> Tensor:
        """`predict_noise`, with the functions around it that the options hold."""
        options = kwargs.get("model_options", args[2] if len(args) > 2 else self.model_options)
        around = functions(PREDICT_NOISE, cast("Options | None", options))
        inner = WrapperExecutor.new_class_executor(self.predict_noise, self, around)
        return cast(Tensor, inner.execute(*args, **kwargs))

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: Options | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided denoised latents of x [B, C, H, W] at sigmas `timestep` [B]."""
        positive, negative = self.conds.get("positive", []), self.conds.get("negative")
        return sampling_function(
            self.network, x, timestep, negative, positive, self.cfg, model_options=model_options or {}, seed=seed
        )

    @property
    def network(self) -> Denoiser:
        """What answers while it samples; NodeInputError at other times."""
        if self.inner_model is None:
            raise NodeInputError("a guider answers only while it samples: call its `sample`")
        return self.inner_model

    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: object,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: StepCallback | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> Tensor:
        """The finished latents [B, C, H, W], on the CPU; NodeInputError for what is no SAMPLER."""
        if len(sigmas) < 2:
            return latent_image
        latent: Latent = {"samples": latent_image}
        if denoise_mask is not None:
            latent["noise_mask"] = denoise_mask
        total, handle = len(sigmas) - 1, self._handle()

        def on_step(index: int, x: Tensor, denoised: Tensor) -> None:
            if callback is not None:
                callback(index, denoised, x, total)

        def make(sides: Sides, options: dict[str, object]) -> GuidedModel:
            self.conds, self.inner_model = sides, handle.model
            return GuidedModel(self, options, seed)

        given = {name: as_conditioning(conds) for name, conds in self.original_conds.items()}
        method = method_of(sampler)
        try:
            return sample_with(
                handle, latent, noise, sigmas, method, given, make, seed=seed or 0, on_step=on_step
            )[0]  # fmt: skip
        finally:
            self.conds, self.inner_model = {}, None

    def _handle(self) -> ModelHandle:
        if self.model_options is self.model_patcher.model_options:
            return self.model_patcher
        handle = self.model_patcher.clone()
        handle.model_options = dict(self.model_options)
        return handle


class BasicGuider(CFGGuider):
    """A MODEL with one side and nothing to lead away from."""

    def set_conds(self, positive: Sequence[object], negative: Sequence[object] = ()) -> None:
        """Set the one side; another is not looked at."""
        self.inner_set_conds({"positive": positive})


class DualGuider(CFGGuider):
    """Leads from a negative side to a second text and from there to the first, each at a scale of its own.

    Source: Brooks et al. 2023, arXiv:2211.09800, eq. 3, for two texts. Nested, the first step leads from the second
    text to the first, and the second from the negative side to the outcome (recorded: numeric/guiders, dual_nested).
    """

    def __init__(self, model_patcher: ModelHandle) -> None:
        super().__init__(model_patcher)
        self.cfg1, self.cfg2, self.nested = 1.0, 1.0, False

    def set_conds(  # type: ignore[override]  # packs call each guider with its own sides
        self, positive: Sequence[object], middle: Sequence[object], negative: Sequence[object]
    ) -> None:
        """Set all three sides."""
        self.inner_set_conds({"positive": positive, "middle": middle, "negative": negative})

    def set_cfg(  # type: ignore[override]
        self, cfg1: float, cfg2: float, nested: bool = False
    ) -> None:
        """`cfg1` is between both texts, `cfg2` between them and the negative side."""
        self.cfg1, self.cfg2, self.nested = cfg1, cfg2, nested

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: Options | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided denoised latents of x [B, C, H, W] at sigmas `timestep` [B]."""
        options = model_options or {}
        sides = [self.conds[name] for name in ("positive", "middle", "negative")]
        first, second, negative = calc_cond_batch(self.network, sides, x, timestep, options)
        if self.nested:
            mixed = negative + self.cfg2 * (second + self.cfg1 * (first - second) - negative)
        else:
            mixed = negative + self.cfg2 * (second - negative) + self.cfg1 * (first - second)
        given: dict[str, object] = {"cond": sides[0], "cond_denoised": first, "cond_scale": self.cfg1}
        given |= {"uncond": sides[2], "uncond_denoised": negative, "middle_cond": sides[1]}
        given |= {"middle_cond_denoised": second, "model": self.network}
        return corrected(mixed, x, timestep, options, given)


class PerpNegGuider(CFGGuider):
    """Leads away only from what the negative side has beyond the positive one (Armandpour et al. 2023)."""

    def __init__(self, model_patcher: ModelHandle) -> None:
        super().__init__(model_patcher)
        self.neg_scale = 1.0

    def set_conds(  # type: ignore[override]  # packs call each guider with its own sides
        self, positive: Sequence[object], negative: Sequence[object], empty_negative_prompt: Sequence[object]
    ) -> None:
        """Set both sides and the empty text they are measured from."""
        conds = {"positive": positive, "empty_negative_prompt": empty_negative_prompt, "negative": negative}
        self.inner_set_conds(conds)

    def set_cfg(self, cfg: float, neg_scale: float = 1.0) -> None:
        """Set how strictly to follow, and how much of that the negative side counts."""
        self.cfg, self.neg_scale = cfg, neg_scale

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: Options | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided denoised latents of x [B, C, H, W] at sigmas `timestep` [B]."""
        options = model_options or {}
        sides = [self.conds[name] for name in ("positive", "negative", "empty_negative_prompt")]
        positive, negative, empty = calc_cond_batch(self.network, sides, x, timestep, options)
        mixed = perpendicular(positive, negative, empty, self.cfg, self.neg_scale)
        given: dict[str, object] = {"cond": sides[0], "cond_denoised": positive, "cond_scale": self.cfg}
        given |= {"uncond": sides[1], "uncond_denoised": negative, "empty_cond": sides[2]}
        given |= {"empty_cond_denoised": empty, "model": self.network}
        return corrected(mixed, x, timestep, options, given)


class GuidedModel:
    """A guider as Weft's methods call a model."""

    def __init__(self, guider: CFGGuider, options: dict[str, object], seed: int | None) -> None:
        self.guider, self.options, self.seed = guider, options, seed
        self.sampling: ModelSampling = guider.network.sampling
        self.model_patcher = guider.model_patcher

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """The guided denoised latents of x."""
        levels = levels_like(x, sigma)
        return self.guider(x, levels, model_options=self.options, seed=self.seed)

    def both(self, x: Tensor, sigma: float) -> Guided:
        """The same with the unconditional latents, caught on their way."""
        caught: dict[str, Tensor] = {}

        def catch(given: Mapping[str, Tensor]) -> Tensor:
            caught["uncond"] = given["uncond_denoised"]
            return given["denoised"]

        hooks = [*cast("Sequence[object]", self.options.get("sampler_post_cfg_function", [])), catch]
        options = {**self.options, "sampler_post_cfg_function": hooks, "disable_cfg1_optimization": True}
        levels = levels_like(x, sigma)
        denoised = self.guider(x, levels, model_options=options, seed=self.seed)
        return Guided(denoised, caught.get("uncond", denoised))


def method_of(sampler: object) -> Sampler:
    """What Weft can run of a SAMPLER; those of packs say it themselves. NodeInputError for anything else."""
    if isinstance(sampler, Sampler):
        return sampler
    as_method = getattr(sampler, "as_method", None)
    if not callable(as_method):
        raise NodeInputError(f"a SAMPLER is expected, not {type(sampler).__name__}")
    return cast(Sampler, as_method())


def convert_cond(cond: Sequence[Sequence[object]]) -> Entries:
    """A CONDITIONING as dictionaries, the embedding under `cross_attn`."""
    converted: Entries = []
    for embedding, options, *_ in cond:
        entry = dict(cast("Mapping[str, object]", options))
        entry["cross_attn"] = embedding
        entry["model_conds"] = dict(cast("Mapping[str, object]", entry.get("model_conds", {})))
        entry["uuid"] = uuid.uuid4()
        converted.append(entry)
    return converted


def as_conditioning(conds: Sequence[object]) -> Conditioning:
    """The CONDITIONING that `convert_cond` made dictionaries of; one that is none yet stays."""
    entries = [
        [entry.get("cross_attn"), {key: value for key, value in entry.items() if key not in ("cross_attn", "uuid")}]
        if isinstance(entry, Mapping)
        else list(cast("Sequence[object]", entry))
        for entry in conds
    ]
    return cast(Conditioning, entries)
