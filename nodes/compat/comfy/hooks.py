"""HOOKS under the names that packs use. What they are and do is Weft's own."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import torch
from torch import Tensor

from executor.inference.conditioning_hooks import (
    AdditionalModelsHook,
    EnumHookMode,
    EnumHookScope,
    EnumHookType,
    EnumWeightTarget,
    Hook,
    HookGroup,
    InjectionsHook,
    ObjectPatchHook,
    TransformerOptionsHook,
    WeightHook,
    create_hook_lora,
    create_hook_model_as_lora,
)
from executor.inference.hook_conditioning import (
    combine_conditioning,
    combine_with_new_conds,
    conditioning_set_values,
    set_conds_props,
    set_conds_props_and_combine,
    set_default_conds_and_combine,
    set_hooks_for_conditioning,
    set_mask_for_conditioning,
    set_timesteps_for_conditioning,
)
from executor.inference.hook_keyframes import HookKeyframe, HookKeyframeGroup, interpolated
from nodes.placeholders import fallback

__all__ = [
    "AdditionalModelsHook", "EnumHookMode", "EnumHookScope", "EnumHookType", "EnumWeightTarget", "Hook", "HookGroup",
    "HookKeyframe", "HookKeyframeGroup", "InjectionsHook", "ObjectPatchHook", "TransformerOptionsHook", "WeightHook",
    "combine_conditioning", "combine_with_new_conds", "conditioning_set_values", "create_hook_lora",
    "create_hook_model_as_lora", "set_conds_props", "set_conds_props_and_combine", "set_default_conds_and_combine",
    "set_hooks_for_conditioning", "set_mask_for_conditioning", "set_timesteps_for_conditioning",
]  # fmt: skip

__getattr__ = fallback(__name__)


class InterpolationMethod(enum.StrEnum):
    """Ways from one strength to another."""

    LINEAR = "linear"
    EASE_IN = "ease_in"
    EASE_OUT = "ease_out"
    EASE_IN_OUT = "ease_in_out"

    @classmethod
    def get_weights(
        cls, num_from: float, num_to: float, length: int, method: str, reverse: bool = False
    ) -> Tensor:  # fmt: skip
        """So many strengths from one to another, or back."""
        weights = torch.tensor(interpolated(num_from, num_to, length, cls(method).value))
        return weights.flip(0) if reverse else weights


def create_target_dict(target: EnumWeightTarget, **options: object) -> dict[str, object]:
    """Whose weights hooks are registered for."""
    return {"target": target, **options}


def get_patch_weights_from_model(model: object, discard_model_sampling: bool = True) -> Mapping[str, Tensor] | None:
    """The pristine weights of a MODEL or CLIP, for `create_hook_model_as_lora`; None without one."""
    return None if model is None else model.named_weights()
