"""Nodes that attach hooks, masks, times and defaults to conditioning, to one or to a pair. Know no sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from executor.inference.hook_conditioning import (
    TimestepsRange,
    combine_with_new_conds,
    set_conds_props,
    set_conds_props_and_combine,
    set_default_conds_and_combine,
)
from executor.inference.values import Conditioning, Mask
from nodes.builtin.hooks import PACK, percent
from nodes.builtin.inputs import InputTypes, choice, decimal, socket

if TYPE_CHECKING:
    from executor.inference.conditioning_hooks import HookGroup

SINGLE, PAIR = "advanced/hooks/cond single", "advanced/hooks/cond pair"
One: TypeAlias = tuple[Conditioning]
Both: TypeAlias = tuple[Conditioning, Conditioning]


def with_properties(*conditionings: str) -> InputTypes:
    """Conditionings by name, and what they may get."""
    return {
        "required": {
            **{name: socket("CONDITIONING") for name in conditionings},
            "strength": decimal(1.0, 0.0, 10.0),
            "set_cond_area": choice(["default", "mask bounds"]),
        },
        "optional": {"mask": socket("MASK"), "hooks": socket("HOOKS"), "timesteps": socket("TIMESTEPS_RANGE")},
    }


def with_hooks(*conditionings: str) -> InputTypes:
    """Conditionings by name, and hooks."""
    return {
        "required": {name: socket("CONDITIONING") for name in conditionings},
        "optional": {"hooks": socket("HOOKS")},
    }


class ConditioningTimestepsRange:
    """Names a part of the sampling, and what lies before and after it."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Timesteps Range"
    CATEGORY = "advanced/hooks"
    RETURN_TYPES = ("TIMESTEPS_RANGE", "TIMESTEPS_RANGE", "TIMESTEPS_RANGE")
    RETURN_NAMES = ("TIMESTEPS_RANGE", "BEFORE_RANGE", "AFTER_RANGE")
    FUNCTION = "create_range"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"start_percent": percent(0.0), "end_percent": percent(1.0)}}

    def create_range(
        self, start_percent: float, end_percent: float
    ) -> tuple[TimestepsRange, TimestepsRange, TimestepsRange]:
        """The three parts, as shares from pure noise (0) to the finished picture (1)."""
        return (start_percent, end_percent), (0.0, start_percent), (end_percent, 1.0)


class ConditioningSetProperties:
    """Gives conditioning a strength, a mask, hooks and times."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Cond Set Props"
    CATEGORY = SINGLE
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "set_properties"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return with_properties("cond_NEW")

    def set_properties(
        self,
        cond_NEW: Conditioning,
        strength: float,
        set_cond_area: str,
        mask: Mask | None = None,
        hooks: HookGroup | None = None,
        timesteps: TimestepsRange | None = None,
    ) -> One:
        """The conditioning with them, where they are given; hooks come beside those it has."""
        [changed] = set_conds_props([cond_NEW], strength, set_cond_area, mask, hooks, timesteps)
        return (changed,)


class ConditioningSetPropertiesAndCombine:
    """Gives conditioning a strength, a mask, hooks and times, and puts it behind another."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Cond Set Props Combine"
    CATEGORY = SINGLE
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "set_properties"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return with_properties("cond", "cond_NEW")

    def set_properties(
        self,
        cond: Conditioning,
        cond_NEW: Conditioning,
        strength: float,
        set_cond_area: str,
        mask: Mask | None = None,
        hooks: HookGroup | None = None,
        timesteps: TimestepsRange | None = None,
    ) -> One:
        """The first as it is, and the new one with its properties."""
        [both] = set_conds_props_and_combine([cond], [cond_NEW], strength, set_cond_area, mask, hooks, timesteps)
        return (both,)


class ConditioningSetDefaultCombine:
    """Adds conditioning that counts where and when no other does."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Cond Set Default Combine"
    CATEGORY = SINGLE
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "set_default_and_combine"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return with_hooks("cond", "cond_DEFAULT")

    def set_default_and_combine(
        self, cond: Conditioning, cond_DEFAULT: Conditioning, hooks: HookGroup | None = None
    ) -> One:
        """The first as it is, and the default one, under hooks where there are some."""
        [both] = set_default_conds_and_combine([cond], [cond_DEFAULT], hooks)
        return (both,)


class PairConditioningSetProperties:
    """Gives both sides a strength, a mask, hooks and times."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Cond Pair Set Props"
    CATEGORY = PAIR
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    FUNCTION = "set_properties"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return with_properties("positive_NEW", "negative_NEW")

    def set_properties(
        self,
        positive_NEW: Conditioning,
        negative_NEW: Conditioning,
        strength: float,
        set_cond_area: str,
        mask: Mask | None = None,
        hooks: HookGroup | None = None,
        timesteps: TimestepsRange | None = None,
    ) -> Both:
        """Both with them, where they are given."""
        sides = [positive_NEW, negative_NEW]
        positive, negative = set_conds_props(sides, strength, set_cond_area, mask, hooks, timesteps)
        return positive, negative


class PairConditioningSetPropertiesAndCombine:
    """Gives both sides a strength, a mask, hooks and times, and puts them behind others."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Cond Pair Set Props Combine"
    CATEGORY = PAIR
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    FUNCTION = "set_properties"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return with_properties("positive", "negative", "positive_NEW", "negative_NEW")

    def set_properties(
        self,
        positive: Conditioning,
        negative: Conditioning,
        positive_NEW: Conditioning,
        negative_NEW: Conditioning,
        strength: float,
        set_cond_area: str,
        mask: Mask | None = None,
        hooks: HookGroup | None = None,
        timesteps: TimestepsRange | None = None,
    ) -> Both:
        """The first ones as they are, and the new ones with their properties."""
        new = [positive_NEW, negative_NEW]
        first, second = set_conds_props_and_combine(
            [positive, negative], new, strength, set_cond_area, mask, hooks, timesteps
        )
        return first, second


class PairConditioningSetDefaultCombine:
    """Adds to both sides conditioning that counts where and when no other does."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Cond Pair Set Default Combine"
    CATEGORY = PAIR
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    FUNCTION = "set_default_and_combine"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return with_hooks("positive", "negative", "positive_DEFAULT", "negative_DEFAULT")

    def set_default_and_combine(
        self,
        positive: Conditioning,
        negative: Conditioning,
        positive_DEFAULT: Conditioning,
        negative_DEFAULT: Conditioning,
        hooks: HookGroup | None = None,
    ) -> Both:
        """The first ones as they are, and the default ones, under hooks where there are some."""
        defaults = [positive_DEFAULT, negative_DEFAULT]
        first, second = set_default_conds_and_combine([positive, negative], defaults, hooks)
        return first, second


class PairConditioningCombine:
    """Puts two pairs of conditioning together."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Cond Pair Combine"
    CATEGORY = PAIR
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    FUNCTION = "combine"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        names = ("positive_A", "negative_A", "positive_B", "negative_B")
        return {"required": {name: socket("CONDITIONING") for name in names}}

    def combine(
        self, positive_A: Conditioning, negative_A: Conditioning, positive_B: Conditioning, negative_B: Conditioning
    ) -> Both:
        """The positive ones, and the negative ones."""
        first, second = combine_with_new_conds([positive_A, negative_A], [positive_B, negative_B])
        return first, second


NODES = (
    ConditioningTimestepsRange,
    ConditioningSetProperties,
    ConditioningSetPropertiesAndCombine,
    ConditioningSetDefaultCombine,
    PairConditioningSetProperties,
    PairConditioningSetPropertiesAndCombine,
    PairConditioningSetDefaultCombine,
    PairConditioningCombine,
)
