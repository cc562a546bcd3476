"""Hooks, masks, times and defaults attached to a CONDITIONING. Knows no sampling; every given one stays as it is.

Function names and arguments are the ecosystem's (reference/custom_node_surface.md, comfy.hooks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor

from executor.inference.conditioning_hooks import HookGroup
from executor.inference.values import Condition, Conditioning

TimestepsRange = tuple[float, float]
"""Shares of the sampling, 0 being pure noise."""


def conditioning_set_values(conditioning: Conditioning, values: Mapping[str, object]) -> Conditioning:
    """The same entries with more options on each."""
    return [
        [cast(Tensor, entry[0]), cast(Condition, {**cast("Mapping[str, object]", entry[1]), **values})]
        for entry in conditioning
    ]


def set_hooks_for_conditioning(
    cond: Conditioning, hooks: HookGroup | None, append_hooks: bool = True, cache: object = None
) -> Conditioning:
    """The same entries under hooks, beside those that they have or instead; groups of equal entries stay shared."""
    if hooks is None:
        return cond
    made: dict[int, HookGroup] = {}
    found: Conditioning = []
    for entry in cond:
        options = cast("Mapping[str, object]", entry[1])
        before = cast("HookGroup | None", options.get("hooks")) if append_hooks else None
        group = hooks if before is None else made.setdefault(id(before), before.clone_and_combine(hooks))
        found += conditioning_set_values([entry], {"hooks": group})
    return found


def set_timesteps_for_conditioning(cond: Conditioning, timestep_range: TimestepsRange | None) -> Conditioning:
    """The same entries for a part of the sampling."""
    if timestep_range is None:
        return cond
    start, end = timestep_range
    return conditioning_set_values(cond, {"start_percent": start, "end_percent": end})


def set_mask_for_conditioning(
    cond: Conditioning, mask: Tensor | None, set_cond_area: str = "default", strength: float = 1.0
) -> Conditioning:
    """The same entries at a strength where a mask [H, W] or [B, H, W] is set; without one, everywhere.

    `set_cond_area` other than "default" has only the rectangle around the mask computed.
    """
    if mask is None:
        return cond if strength == 1.0 else conditioning_set_values(cond, {"strength": strength})
    planes = mask if mask.ndim > 2 else mask.unsqueeze(0)
    bounds = set_cond_area != "default"
    return conditioning_set_values(
        cond, {"mask": planes, "set_area_to_bounds": bounds, "mask_strength": strength}
    )  # fmt: skip


def combine_conditioning(conds: Sequence[Conditioning]) -> Conditioning:
    """All entries, one after the other."""
    return [entry for cond in conds for entry in cond]


def combine_with_new_conds(conds: Sequence[Conditioning], new_conds: Sequence[Conditioning]) -> list[Conditioning]:
    """Each of the first with its counterpart among the second behind it."""
    return [combine_conditioning(pair) for pair in zip(conds, new_conds, strict=True)]


def set_conds_props(
    conds: Sequence[Conditioning],
    strength: float = 1.0,
    set_cond_area: str = "default",
    mask: Tensor | None = None,
    hooks: HookGroup | None = None,
    timesteps_range: TimestepsRange | None = None,
    append_hooks: bool = True,
) -> list[Conditioning]:
    """Conditionings with hooks, a mask at a strength, and times, where each is given."""
    changed = (set_hooks_for_conditioning(cond, hooks, append_hooks) for cond in conds)
    masked = (set_mask_for_conditioning(cond, mask, set_cond_area, strength) for cond in changed)
    return [set_timesteps_for_conditioning(cond, timesteps_range) for cond in masked]


def set_conds_props_and_combine(
    conds: Sequence[Conditioning],
    new_conds: Sequence[Conditioning],
    strength: float = 1.0,
    set_cond_area: str = "default",
    mask: Tensor | None = None,
    hooks: HookGroup | None = None,
    timesteps_range: TimestepsRange | None = None,
    append_hooks: bool = True,
) -> list[Conditioning]:
    """Conditionings as they are, each with a new one behind it that gets these properties."""
    changed = set_conds_props(new_conds, strength, set_cond_area, mask, hooks, timesteps_range, append_hooks)
    return combine_with_new_conds(conds, changed)


def set_default_conds_and_combine(
    conds: Sequence[Conditioning],
    new_conds: Sequence[Conditioning],
    hooks: HookGroup | None = None,
    timesteps_range: TimestepsRange | None = None,
    append_hooks: bool = True,
) -> list[Conditioning]:
    """Conditionings as they are, each with a new one behind it that counts where and when no other one does."""
    changed = set_conds_props(new_conds, hooks=hooks, timesteps_range=timesteps_range, append_hooks=append_hooks)
    return combine_with_new_conds(conds, [conditioning_set_values(cond, {"default": True}) for cond in changed])
