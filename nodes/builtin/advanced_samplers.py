"""Nodes of sampling methods beside the common ones. Know no models and no formulas."""

from __future__ import annotations

from executor.inference.samplers import Noise, Sampler, sampler
from executor.inference.samplers.ancestry import lcm_growing
from executor.inference.samplers.cfg_pp import euler_cfg_pp_alternative
from nodes.builtin.inputs import InputTypes, combo, decimal, integer

PACK = "comfy_extras.nodes_advanced_samplers"
METHODS = ["bislerp", "nearest-exact", "bilinear", "area", "bicubic"]
REGULAR, ALTERNATIVE = "regular", "alternative"


class SamplerEulerCFGpp:
    """Euler's method with guidance that keeps to the unconditional path (CFG++), in two forms."""

    PACK = PACK
    LISTING = "v3"
    EXPERIMENTAL = True
    DISPLAY_NAME = "SamplerEulerCFG++"
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"version": combo([REGULAR, ALTERNATIVE])}}

    def get_sampler(self, version: str) -> tuple[Sampler]:
        """The method in one of its forms."""
        if version == ALTERNATIVE:
            return (Sampler(name="euler_cfg_pp_alternative", function=euler_cfg_pp_alternative),)
        return (sampler("euler_cfg_pp"),)


class SamplerLCMUpscale:
    """LCM's chain on latents that grow from step to step."""

    PACK = PACK
    LISTING = "v3"
    CATEGORY = "sampling/custom_sampling/samplers"
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "get_sampler"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "scale_ratio": decimal(1.0, 0.1, 20.0),
                "scale_steps": integer(-1, -1, 1000, step=1),
                "upscale_method": combo(METHODS),
            }
        }

    def get_sampler(self, scale_ratio: float, scale_steps: int, upscale_method: str) -> tuple[Sampler]:
        """The method; latents reach `scale_ratio` times their size in so many steps (-1: half of all)."""
        grows = Sampler(name="lcm_growing", function=lcm_growing, noise=Noise.FOLLOWING)
        return (grows.with_options(ratio=scale_ratio, growing_steps=scale_steps, method=upscale_method),)


NODES = (SamplerEulerCFGpp, SamplerLCMUpscale)
