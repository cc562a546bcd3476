"""Nodes that change what a model's guidance and blocks compute. The maths is executor.inference's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from executor.errors import NodeInputError
from executor.inference.freeu import FreeU as Freeing
from executor.inference.freeu import FreeUV2
from executor.inference.guidance_rules import (
    SelfAttention,
    SkippedLayers,
    against_empty,
    by_likeness,
    normed,
    perturbed,
    zero_star,
)
from executor.inference.token_reduction import Tiling, TokenMerging
from executor.inference.values import Conditioning
from nodes.builtin.inputs import InputTypes, decimal, flag, integer, socket, text

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

FREE_PACK = "comfy_extras.nodes_freelunch"
CFG_PACK = "comfy_extras.nodes_cfg"


class FreeU:
    """Strengthens what the way up of a UNet makes, and weakens coarse parts of what it skips to."""

    PACK = FREE_PACK
    CATEGORY = "model_patches/unet"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _free_inputs(1.1, 1.2)

    def patch(self, model: ModelHandle, b1: float, b2: float, s1: float, s2: float) -> tuple[ModelHandle]:
        """b: strength of the features at the two innermost widths; s: of the coarse parts skipped to."""
        changed = model.clone()
        changed.set_model_output_block_patch(Freeing(first_width(model), (b1, b2), (s1, s2)))
        return (changed,)


class FreeU_V2:  # noqa: N801  (the ecosystem's name)
    """FreeU with strengths that follow how much each cell holds."""

    PACK = FREE_PACK
    CATEGORY = "model_patches/unet"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return _free_inputs(1.3, 1.4)

    def patch(self, model: ModelHandle, b1: float, b2: float, s1: float, s2: float) -> tuple[ModelHandle]:
        """As FreeU's."""
        changed = model.clone()
        changed.set_model_output_block_patch(FreeUV2(first_width(model), (b1, b2), (s1, s2)))
        return (changed,)


def first_width(model: ModelHandle) -> int:
    """Channels of a UNet's first feature maps; NodeInputError for a model of another kind."""
    width = getattr(model.model.diffusion_model, "model_channels", None)
    if not isinstance(width, int):
        raise NodeInputError(f"input 'model': this node changes UNets, and the {model.family} model has none")
    return width


def _free_inputs(first: float, second: float) -> InputTypes:
    strengths = {"b1": first, "b2": second, "s1": 0.9, "s2": 0.2}
    return {
        "required": {
            "model": socket("MODEL"),
            **{name: decimal(default, 0.0, 10.0) for name, default in strengths.items()},
        }
    }


class PerturbedAttentionGuidance:
    """Leads away from what the model draws when its cells do not see each other."""

    PACK = "comfy_extras.nodes_pag"
    LISTING = "v3"
    CATEGORY = "model_patches/unet"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": ("MODEL", {}), "scale": decimal(3.0, 0.0, 100.0, 0.01, round=0.01)}}

    def patch(self, model: ModelHandle, scale: float) -> tuple[ModelHandle]:
        """A clone whose guidance is pushed so strongly."""
        changed = model.clone()
        changed.set_model_sampler_post_cfg_function(perturbed(scale))
        return (changed,)


class SelfAttentionGuidance:
    """Leads away from a picture that is blurred where the model looks most."""

    PACK = "comfy_extras.nodes_sag"
    LISTING = "v3"
    DISPLAY_NAME = "Self-Attention Guidance"
    EXPERIMENTAL = True
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "scale": decimal(0.5, -2.0, 5.0, 0.01),
                "blur_sigma": decimal(2.0, 0.0, 10.0, 0.1),
            }
        }

    def patch(self, model: ModelHandle, scale: float, blur_sigma: float) -> tuple[ModelHandle]:
        """A clone whose guidance is pushed so strongly; both sides are calculated at every scale."""
        changed = model.clone()
        guidance = SelfAttention(scale, blur_sigma)
        changed.set_model_sampler_post_cfg_function(guidance.push, disable_cfg1_optimization=True)
        changed.set_model_attn1_replace(guidance.watch, "middle", 0, 0)
        return (changed,)


class CFGNorm:
    """Keeps the guided answer no longer than the positive one, cell by cell."""

    PACK = CFG_PACK
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = "advanced/guidance"
    RETURN_TYPES = ("MODEL",)
    RETURN_NAMES = ("patched_model",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": ("MODEL", {}), "strength": decimal(1.0, 0.0, 100.0)}}

    def patch(self, model: ModelHandle, strength: float) -> tuple[ModelHandle]:
        """A clone whose guided answers are shortened, then multiplied."""
        changed = model.clone()
        changed.set_model_sampler_post_cfg_function(normed(strength))
        return (changed,)


class CFGZeroStar:
    """Scales the negative side to where it is nearest to the positive one."""

    PACK = CFG_PACK
    LISTING = "v3"
    CATEGORY = "advanced/guidance"
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
        changed.set_model_sampler_post_cfg_function(zero_star)
        return (changed,)


class Mahiro:
    """Holds the negative side back where it pulls another way than the positive one."""

    PACK = "comfy_extras.nodes_mahiro"
    LISTING = "v3"
    EXPERIMENTAL = True
    DISPLAY_NAME = "Mahiro is so cute that she deserves a better guidance function!! (\u3002\u30fb\u03c9\u30fb\u3002)"
    CATEGORY = "_for_testing"
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
        changed.set_model_sampler_post_cfg_function(by_likeness)
        return (changed,)


class HyperTile:
    """Lets large pictures attend in tiles, which is faster."""

    PACK = "comfy_extras.nodes_hypertile"
    LISTING = "v3"
    CATEGORY = "model_patches/unet"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "tile_size": integer(256, 1, 2048),
                "swap_size": integer(2, 1, 128),
                "max_depth": integer(0, 0, 10),
                "scale_depth": flag(default=False),
            }
        }

    def patch(
        self, model: ModelHandle, tile_size: int, swap_size: int, max_depth: int, scale_depth: bool
    ) -> tuple[ModelHandle]:
        """Tiles of at least so many pixels, at so many of the UNet's sizes."""
        changed = model.clone()
        tiling = Tiling(tile_size, swap_size, max_depth, scales=scale_depth)
        changed.set_model_attn1_patch(tiling.tile)
        changed.set_model_attn1_output_patch(tiling.join)
        return (changed,)


class TomePatchModel:
    """Merges like tokens before self-attention, which is faster."""

    PACK = "comfy_extras.nodes_tomesd"
    LISTING = "v3"
    CATEGORY = "model_patches/unet"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": ("MODEL", {}), "ratio": decimal(0.3, 0.0, 1.0)}}

    def patch(self, model: ModelHandle, ratio: float) -> tuple[ModelHandle]:
        """Such a share of the tokens is merged."""
        changed, merging = model.clone(), TokenMerging(ratio)
        changed.set_model_attn1_patch(merging.merge)
        changed.set_model_attn1_output_patch(merging.unmerge)
        return (changed,)


class PerpNeg:
    """Takes only that off the picture which the negative text has beyond the positive one."""

    PACK = "comfy_extras.nodes_perpneg"
    LISTING = "v3"
    DISPLAY_NAME = "Perp-Neg (DEPRECATED by PerpNegGuider)"
    DEPRECATED = True
    EXPERIMENTAL = True
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "empty_conditioning": ("CONDITIONING", {}),
                "neg_scale": decimal(1.0, 0.0, 100.0),
            }
        }

    def patch(self, model: ModelHandle, empty_conditioning: Conditioning, neg_scale: float) -> tuple[ModelHandle]:
        """Both sides are measured from what an empty text gives."""
        changed = model.clone()
        changed.set_model_sampler_cfg_function(against_empty(empty_conditioning, neg_scale))
        return (changed,)


class SkipLayerGuidanceDiT:
    """Leads away from what a diffusion transformer draws without some of its blocks."""

    PACK = "comfy_extras.nodes_slg"
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = "advanced/guidance"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "skip_guidance"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "double_layers": text(default="7, 8, 9", multiline=False),
                "single_layers": text(default="7, 8, 9", multiline=False),
                "scale": decimal(3.0, 0.0, 10.0, 0.1),
                "start_percent": decimal(0.01, 0.0, 1.0, 0.001),
                "end_percent": decimal(0.15, 0.0, 1.0, 0.001),
                "rescaling_scale": decimal(0.0, 0.0, 10.0),
            }
        }

    def skip_guidance(
        self,
        model: ModelHandle,
        double_layers: str,
        single_layers: str,
        scale: float,
        start_percent: float,
        end_percent: float,
        rescaling_scale: float = 0.0,
    ) -> tuple[ModelHandle]:
        """A clone pushed between two shares of the sampling; without numbers of blocks the model as it is."""
        layers = skipped_layers(model, double_layers, single_layers, start_percent, end_percent)
        if not (layers.double or layers.single):
            return (model,)
        changed = model.clone()
        changed.set_model_sampler_post_cfg_function(layers.push(scale, rescaling_scale))
        return (changed,)


class SkipLayerGuidanceDiTSimple:
    """Lets the negative side of the guidance do without some of a diffusion transformer's blocks."""

    PACK = "comfy_extras.nodes_slg"
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = "advanced/guidance"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "skip_guidance"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "double_layers": text(default="7, 8, 9", multiline=False),
                "single_layers": text(default="7, 8, 9", multiline=False),
                "start_percent": decimal(0.0, 0.0, 1.0, 0.001),
                "end_percent": decimal(1.0, 0.0, 1.0, 0.001),
            }
        }

    def skip_guidance(
        self, model: ModelHandle, double_layers: str, single_layers: str, start_percent: float, end_percent: float
    ) -> tuple[ModelHandle]:
        """A clone that does so between two shares of the sampling; without numbers the model as it is."""
        layers = skipped_layers(model, double_layers, single_layers, start_percent, end_percent)
        if not (layers.double or layers.single):
            return (model,)
        changed = model.clone()
        changed.set_model_sampler_calc_cond_batch_function(layers.answers)
        return (changed,)


def skipped_layers(model: ModelHandle, double: str, single: str, start: float, end: float) -> SkippedLayers:
    """The blocks whose numbers stand in two texts, from one share of the sampling to another."""
    numbers = [tuple(int(number) for number in re.findall(r"\d+", listed)) for listed in (double, single)]
    sigma_of = model.model_sampling.percent_to_sigma
    return SkippedLayers(double=numbers[0], single=numbers[1], start_sigma=sigma_of(start), end_sigma=sigma_of(end))


NODES = (
    FreeU,
    FreeU_V2,
    HyperTile,
    TomePatchModel,
    PerturbedAttentionGuidance,
    SelfAttentionGuidance,
    PerpNeg,
    SkipLayerGuidanceDiT,
    SkipLayerGuidanceDiTSimple,
    CFGNorm,
    CFGZeroStar,
    Mahiro,
)
