"""Nodes that mix the weights of models. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.patching import PatchKey
from nodes.builtin.inputs import InputTypes, decimal, socket

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.text.clip import Clip

PACK = "comfy_extras.nodes_model_merging"
NETWORK = "diffusion_model."
# numbers that are no weights and are not mixed
NO_WEIGHTS = (".position_ids", ".logit_scale")


class _ModelMerge:
    PACK = PACK
    CATEGORY = "advanced/model_merging"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "merge"


class _ClipMerge:
    PACK = PACK
    CATEGORY = "advanced/model_merging"
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "merge"


def mixed(model: ModelHandle, other: ModelHandle, strength_other: float, strength: float) -> ModelHandle:
    """A clone whose network has so much of its own weights and of the other's."""
    changed = model.clone()
    weights: dict[PatchKey, object] = {key: value for key, value in other.get_key_patches(NETWORK).items()}
    changed.add_patches(weights, strength_other, strength)
    return changed


def mixed_clip(clip: Clip, other: Clip, strength_other: float, strength: float) -> Clip:
    """A clone whose encoder has so much of its own weights and of the other's."""
    changed = clip.clone()
    weights: dict[PatchKey, object] = {
        key: value for key, value in other.get_key_patches().items() if not key.endswith(NO_WEIGHTS)
    }
    changed.add_patches(weights, strength_other, strength)
    return changed


class ModelMergeSimple(_ModelMerge):
    """Mixes two models evenly."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        ratio = decimal(1.0, 0.0, 1.0)
        return {"required": {"model1": socket("MODEL"), "model2": socket("MODEL"), "ratio": ratio}}

    def merge(self, model1: ModelHandle, model2: ModelHandle, ratio: float) -> tuple[ModelHandle]:
        """`ratio` is the share of the first."""
        return (mixed(model1, model2, 1.0 - ratio, ratio),)


class ModelMergeSubtract(_ModelMerge):
    """Takes one model's weights off another's."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        factor = decimal(1.0, -10.0, 10.0)
        return {"required": {"model1": socket("MODEL"), "model2": socket("MODEL"), "multiplier": factor}}

    def merge(self, model1: ModelHandle, model2: ModelHandle, multiplier: float) -> tuple[ModelHandle]:
        """The difference, so many times."""
        return (mixed(model1, model2, -multiplier, multiplier),)


class ModelMergeAdd(_ModelMerge):
    """Adds one model's weights to another's."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model1": socket("MODEL"), "model2": socket("MODEL")}}

    def merge(self, model1: ModelHandle, model2: ModelHandle) -> tuple[ModelHandle]:
        """The sum."""
        return (mixed(model1, model2, 1.0, 1.0),)


class ModelMergeBlocks(_ModelMerge):
    """Mixes two models with a share for each part of the network."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        shares = {name: decimal(1.0, 0.0, 1.0) for name in ("input", "middle", "out")}
        return {"required": {"model1": socket("MODEL"), "model2": socket("MODEL"), **shares}}

    def merge(self, model1: ModelHandle, model2: ModelHandle, **kwargs: float) -> tuple[ModelHandle]:
        """Shares of the first, by the longest beginning of a weight's name; other weights have the first one's."""
        changed, usual = model1.clone(), next(iter(kwargs.values()))
        for key, value in model2.get_key_patches(NETWORK).items():
            name = key.removeprefix(NETWORK)
            fitting = [part for part in kwargs if name.startswith(part)]
            ratio = kwargs[max(fitting, key=len)] if fitting else usual
            changed.add_patches({key: value}, 1.0 - ratio, ratio)
        return (changed,)


class CLIPMergeSimple(_ClipMerge):
    """Mixes two text encoders evenly."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"clip1": socket("CLIP"), "clip2": socket("CLIP"), "ratio": decimal(1.0, 0.0, 1.0)}}

    def merge(self, clip1: Clip, clip2: Clip, ratio: float) -> tuple[Clip]:
        """`ratio` is the share of the first."""
        return (mixed_clip(clip1, clip2, 1.0 - ratio, ratio),)


class CLIPMergeSubtract(_ClipMerge):
    """Takes one text encoder's weights off another's."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        factor = decimal(1.0, -10.0, 10.0)
        return {"required": {"clip1": socket("CLIP"), "clip2": socket("CLIP"), "multiplier": factor}}

    def merge(self, clip1: Clip, clip2: Clip, multiplier: float) -> tuple[Clip]:
        """The difference, so many times."""
        return (mixed_clip(clip1, clip2, -multiplier, multiplier),)


class CLIPMergeAdd(_ClipMerge):
    """Adds one text encoder's weights to another's."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"clip1": socket("CLIP"), "clip2": socket("CLIP")}}

    def merge(self, clip1: Clip, clip2: Clip) -> tuple[Clip]:
        """The sum."""
        return (mixed_clip(clip1, clip2, 1.0, 1.0),)


NODES = (
    ModelMergeSimple,
    ModelMergeSubtract,
    ModelMergeAdd,
    ModelMergeBlocks,
    CLIPMergeSimple,
    CLIPMergeSubtract,
    CLIPMergeAdd,
)
