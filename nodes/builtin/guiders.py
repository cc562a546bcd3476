"""Nodes that say how a sampling is led (GUIDER). The maths is executor.inference.guider's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference import guider
from executor.inference.values import Conditioning
from nodes.builtin.inputs import InputTypes, choice, decimal, socket

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

PACK = "comfy_extras.nodes_custom_sampler"
GUIDERS = "sampling/custom_sampling/guiders"
SCALE = decimal(8.0, 0.0, 100.0, 0.1, round=0.01)


class BasicGuider:
    """Leads by one conditioning, without anything to lead away from."""

    PACK = PACK
    CATEGORY = GUIDERS
    RETURN_TYPES = ("GUIDER",)
    FUNCTION = "get_guider"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": socket("MODEL"), "conditioning": socket("CONDITIONING")}}

    def get_guider(self, model: ModelHandle, conditioning: Conditioning) -> tuple[guider.CFGGuider]:
        """The guider."""
        made = guider.BasicGuider(model)
        made.set_conds(conditioning)
        return (made,)


class CFGGuider:
    """Leads to the positive conditioning and away from the negative one."""

    PACK = PACK
    CATEGORY = GUIDERS
    RETURN_TYPES = ("GUIDER",)
    FUNCTION = "get_guider"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "positive": socket("CONDITIONING"),
                "negative": socket("CONDITIONING"),
                "cfg": SCALE,
            }
        }

    def get_guider(
        self, model: ModelHandle, positive: Conditioning, negative: Conditioning, cfg: float
    ) -> tuple[guider.CFGGuider]:
        """The guider."""
        made = guider.CFGGuider(model)
        made.set_conds(positive, negative)
        made.set_cfg(cfg)
        return (made,)


class DualCFGGuider:
    """Leads by two conditionings and away from a negative one, each at a scale of its own."""

    PACK = PACK
    CATEGORY = GUIDERS
    RETURN_TYPES = ("GUIDER",)
    FUNCTION = "get_guider"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "cond1": socket("CONDITIONING"),
                "cond2": socket("CONDITIONING"),
                "negative": socket("CONDITIONING"),
                "cfg_conds": SCALE,
                "cfg_cond2_negative": SCALE,
                "style": choice(["regular", "nested"]),
            }
        }

    def get_guider(
        self,
        model: ModelHandle,
        cond1: Conditioning,
        cond2: Conditioning,
        negative: Conditioning,
        cfg_conds: float,
        cfg_cond2_negative: float,
        style: str,
    ) -> tuple[guider.CFGGuider]:
        """The guider."""
        made = guider.DualGuider(model)
        made.set_conds(cond1, cond2, negative)
        made.set_cfg(cfg_conds, cfg_cond2_negative, nested=style == "nested")
        return (made,)


class PerpNegGuider:
    """Leads away only from what the negative conditioning has beyond the positive one."""

    PACK = "comfy_extras.nodes_perpneg"
    LISTING = "v3"
    EXPERIMENTAL = True
    CATEGORY = "_for_testing"
    RETURN_TYPES = ("GUIDER",)
    FUNCTION = "get_guider"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": ("MODEL", {}),
                "positive": ("CONDITIONING", {}),
                "negative": ("CONDITIONING", {}),
                "empty_conditioning": ("CONDITIONING", {}),
                "cfg": SCALE,
                "neg_scale": decimal(1.0, 0.0, 100.0),
            }
        }

    def get_guider(
        self,
        model: ModelHandle,
        positive: Conditioning,
        negative: Conditioning,
        empty_conditioning: Conditioning,
        cfg: float,
        neg_scale: float,
    ) -> tuple[guider.CFGGuider]:
        """The guider."""
        made = guider.PerpNegGuider(model)
        made.set_conds(positive, negative, empty_conditioning)
        made.set_cfg(cfg, neg_scale)
        return (made,)


NODES = (BasicGuider, CFGGuider, DualCFGGuider, PerpNegGuider)
