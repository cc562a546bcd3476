"""Nodes that change what guidance pushes, and leave out steps that change little. The maths lies elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.guidance_parts import ProjectedGuidance, along_shared, by_waves, with_less_noise
from executor.inference.step_cache import GuidedCache, NetworkCache, StepCache
from executor.inference.wrappers import DIFFUSION_MODEL, OUTER_SAMPLE, PREDICT_NOISE
from nodes.builtin.inputs import Entry, InputTypes, decimal, flag, integer

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

MODEL: Entry = ("MODEL", {"tooltip": "The model to change."})


class TCFG:
    """Takes off the negative side what lies across the direction that both sides share."""

    PACK = "comfy_extras.nodes_tcfg"
    LISTING = "v3"
    DISPLAY_NAME = "Tangential Damping CFG"
    CATEGORY = "advanced/guidance"
    DESCRIPTION = "Damps the part of the negative prediction that disagrees with the positive one (arXiv:2503.18137)."
    RETURN_TYPES = ("MODEL",)
    RETURN_NAMES = ("patched_model",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": ("MODEL", {})}}

    def patch(self, model: ModelHandle) -> tuple[ModelHandle]:
        """A clone with that guidance."""
        changed = model.clone()
        changed.set_model_sampler_pre_cfg_function(along_shared)
        return (changed,)


class APG:
    """Guides across the positive prediction rather than along it."""

    PACK = "comfy_extras.nodes_apg"
    LISTING = "v3"
    DISPLAY_NAME = "Adaptive Projected Guidance"
    CATEGORY = "sampling/custom_sampling"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        along = "How strongly guidance pushes along the positive prediction; 1 leaves it whole."
        longest = "The longest push; 0 allows any."
        return {
            "required": {
                "model": ("MODEL", {}),
                "eta": decimal(1.0, -10.0, 10.0, tooltip=along),
                "norm_threshold": decimal(5.0, 0.0, 50.0, 0.1, tooltip=longest),
                "momentum": decimal(0.0, -5.0, 1.0, tooltip="How much of earlier pushes is added; 0 adds none."),
            }
        }

    def patch(self, model: ModelHandle, eta: float, norm_threshold: float, momentum: float) -> tuple[ModelHandle]:
        """A clone with that guidance."""
        changed = model.clone()
        changed.set_model_sampler_pre_cfg_function(ProjectedGuidance(eta, norm_threshold, momentum))
        return (changed,)


class FreSca:
    """Pushes coarse and fine waves of a picture unequally."""

    PACK = "comfy_extras.nodes_fresca"
    LISTING = "v3"
    DISPLAY_NAME = "FreSca"
    EXPERIMENTAL = True
    CATEGORY = "_for_testing"
    DESCRIPTION = "Scales the coarse and the fine waves of what guidance adds (arXiv:2504.02154)."
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        coarse = "How many periods along a side of the latent still count as coarse."
        return {
            "required": {
                "model": ("MODEL", {}),
                "scale_low": decimal(1.0, 0, 10, tooltip="How strongly coarse waves are pushed."),
                "scale_high": decimal(1.25, 0, 10, tooltip="How strongly fine waves are pushed."),
                "freq_cutoff": integer(20, 1, 10000, step=1, tooltip=coarse),
            }
        }

    def patch(self, model: ModelHandle, scale_low: float, scale_high: float, freq_cutoff: int) -> tuple[ModelHandle]:
        """A clone with that guidance."""
        changed = model.clone()
        changed.set_model_sampler_pre_cfg_function(by_waves(scale_low, scale_high, freq_cutoff))
        return (changed,)


class EpsilonScaling:
    """Takes a little less noise out in every step."""

    NAME = "Epsilon Scaling"
    PACK = "comfy_extras.nodes_eps"
    LISTING = "v3"
    CATEGORY = "model_patches/unet"
    DESCRIPTION = "Divides the predicted noise by a factor, against errors that add up (arXiv:2308.15321)."
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "scaling_factor": decimal(1.005, 0.5, 1.5, 0.001, display="number"),
            }
        }

    def patch(self, model: ModelHandle, scaling_factor: float) -> tuple[ModelHandle]:
        """A clone whose guided noise is divided so."""
        changed = model.clone()
        changed.set_model_sampler_post_cfg_function(with_less_noise(scaling_factor))
        return (changed,)


class _Cache:
    """What both caches have in common."""

    PACK = "comfy_extras.nodes_easycache"
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = "advanced/debug/model"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"
    KIND: type[StepCache]

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        threshold = "By how much, added up, answers that are used again may be off; 0 evaluates every step."
        return {
            "required": {
                "model": MODEL,
                "reuse_threshold": decimal(0.2, 0.0, 3.0, tooltip=threshold),
                "start_percent": decimal(0.15, 0.0, 1.0, tooltip="From which share of the sampling on."),
                "end_percent": decimal(0.95, 0.0, 1.0, tooltip="Up to which share of the sampling."),
                "verbose": flag(default=False, tooltip="Write into the log how many calls were left out."),
            }
        }

    def prepared(
        self, model: ModelHandle, threshold: float, start_percent: float, end_percent: float, verbose: bool
    ) -> StepCache:
        """A cache for this model's noise levels."""
        level = model.model_sampling.percent_to_sigma
        return self.KIND(
            threshold=threshold, start_sigma=level(start_percent), end_sigma=level(end_percent), verbose=verbose
        )

    def put(self, model: ModelHandle, kind: str, cache: StepCache) -> tuple[ModelHandle]:
        """A clone with the cache around calls of a kind, in the place of one that was there."""
        changed, key = model.clone(), type(self).__name__
        for wrapped, function in ((OUTER_SAMPLE, cache.outer), (kind, cache.call)):
            changed.remove_wrappers_with_key(wrapped, key)
            changed.add_wrapper_with_key(wrapped, key, function)
        return (changed,)


class EasyCache(_Cache):
    """Leaves out calls of the network whose answers would differ little from the last ones."""

    DISPLAY_NAME = "EasyCache"
    DESCRIPTION = "Faster sampling: the network is not asked again while its answer would hardly change."
    KIND = NetworkCache

    def patch(
        self, model: ModelHandle, reuse_threshold: float, start_percent: float, end_percent: float, verbose: bool
    ) -> tuple[ModelHandle]:
        """A clone that looks at the network's own input and output."""
        cache = self.prepared(model, reuse_threshold, start_percent, end_percent, verbose)
        return self.put(model, DIFFUSION_MODEL, cache)


class LazyCache(_Cache):
    """Leaves out whole steps whose guided answers would differ little from the last ones."""

    DISPLAY_NAME = "LazyCache"
    DESCRIPTION = "As EasyCache, but on guided answers: simpler, for models and patches that EasyCache does not suit."
    KIND = GuidedCache

    def patch(
        self, model: ModelHandle, reuse_threshold: float, start_percent: float, end_percent: float, verbose: bool
    ) -> tuple[ModelHandle]:
        """A clone that looks at guided answers."""
        cache = self.prepared(model, reuse_threshold, start_percent, end_percent, verbose)
        return self.put(model, PREDICT_NOISE, cache)


NODES = (APG, TCFG, FreSca, EpsilonScaling, EasyCache, LazyCache)
