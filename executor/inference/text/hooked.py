"""A text model under hooks: read at the strengths of the start, or once for each span of strengths. Knows no tokens."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from executor.inference.conditioning_hooks import EnumWeightTarget, Hook, HookGroup
from executor.inference.hook_conditioning import conditioning_set_values
from executor.inference.hook_keyframes import HookKeyframe, HookKeyframeGroup

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip, Tokens
    from executor.inference.text.clip_model import Encoded
    from executor.inference.values import Conditioning

Strengths: TypeAlias = tuple[float, ...]
"""Of each hook of a group, in order."""


def read_under_hooks(clip: Clip, tokens: Tokens, *, projected: bool = True) -> Conditioning:
    """The conditioning of tokens; with a schedule an entry for each span, named by its shares of the sampling.

    Unless `projected`, pooled vectors are those before the model's projection.
    """
    if clip.hooks is None or not clip.use_clip_schedule:
        return _conditioning(clip, hooked(clip).encoded(tokens, projected=projected))
    read: dict[Strengths, Encoded] = {}
    found: Conditioning = []
    for start, end, strengths in spans(clip.hooks):
        if strengths not in read:
            read[strengths] = hooked(clip, strengths).encoded(tokens, projected=projected)
        span = {"clip_start_percent": start, "clip_end_percent": end}
        found += conditioning_set_values(_conditioning(clip, read[strengths]), span)
    return found


def _conditioning(clip: Clip, encoded: Encoded) -> Conditioning:
    made: Conditioning = [[encoded.hidden, {"pooled_output": encoded.pooled}]]
    hooks = clip.apply_hooks_to_conds
    return made if hooks is None else conditioning_set_values(made, {"hooks": hooks})


def spans(hooks: HookGroup) -> list[tuple[float, float, Strengths]]:
    """The parts of the sampling, (start, end, strengths), throughout which the strengths of a group's hooks stay."""
    starts = {keyframe.start_percent for hook in hooks for keyframe in hook.hook_keyframe.keyframes}
    times = [0.0, *sorted(start for start in starts if 0.0 < start < 1.0), 1.0]
    found: list[tuple[float, float, Strengths]] = []
    for start, end in pairwise(times):
        strengths = strengths_at(hooks, start)
        if found and found[-1][2] == strengths:
            start = found.pop()[0]
        found.append((start, end, strengths))
    return found


def strengths_at(hooks: HookGroup, percent: float) -> Strengths:
    """What the keyframes say of a share of the sampling."""
    return tuple(hook.hook_keyframe.strength_at(percent) for hook in hooks)


def hooked(clip: Clip, strengths: Strengths | None = None) -> Clip:
    """A CLIP whose weights are under its hooks at these strengths, those of the start if none are given."""
    if clip.hooks is None:
        return clip
    strengths = strengths_at(clip.hooks, 0.0) if strengths is None else strengths
    key = (clip.patches_uuid, *zip((hook.hook_ref for hook in clip.hooks), strengths, strict=True))
    if key not in clip.under_hooks:
        other = clip.clone()
        for hook, strength in zip(clip.hooks, strengths, strict=True):
            at(hook, strength).add_hook_patches(other, {}, {"target": EnumWeightTarget.Clip}, clip.hooks)
        clip.under_hooks[key] = other.patches_uuid, other.patches
    reader = clip.clone()
    reader.patches_uuid, reader.patches = clip.under_hooks[key]  # as often as it is asked for, so that weights stay
    return reader


def at(hook: Hook, strength: float) -> Hook:
    """The same hook, held at a strength."""
    other = hook.clone()
    other.hook_keyframe = HookKeyframeGroup()
    other.hook_keyframe.add(HookKeyframe(strength))
    return other
