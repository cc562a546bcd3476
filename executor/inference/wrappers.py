"""Functions that packs put around ours, and functions they want called at moments. Knows not what is wrapped.

Kinds, keys and calling order are the ecosystem's (reference/custom_node_surface.md, comfy.patcher_extension): a wrapper
gets an executor as its first argument and calls it to go on, `executor(*args, **kwargs)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast

Function: TypeAlias = Callable[..., object]
Keyed: TypeAlias = dict[str, dict[str | None, list[Function]]]
"""Kind of moment → key that a pack chose (None: none) → functions."""

OUTER_SAMPLE = "outer_sample"
PREDICT_NOISE = "predict_noise"
CALC_COND_BATCH = "calc_cond_batch"
SAMPLER_SAMPLE = "sampler_sample"
PREPARE_SAMPLING = "prepare_sampling"
APPLY_MODEL = "apply_model"
DIFFUSION_MODEL = "diffusion_model"

ON_CLONE = "on_clone"
ON_LOAD = "on_load_after"
ON_DETACH = "on_detach_after"
ON_CLEANUP = "on_cleanup"
ON_PRE_RUN = "on_pre_run"
ON_PREPARE_STATE = "on_prepare_state"
ON_APPLY_HOOKS = "on_apply_hooks"
ON_INJECT_MODEL = "on_inject_model"
ON_EJECT_MODEL = "on_eject_model"


class WrapperExecutor:
    """A function with its wrappers around it; calling it goes one wrapper further in."""

    def __init__(self, original: Function, class_obj: object, wrappers: Sequence[Function], idx: int = 0) -> None:
        self.original, self.class_obj, self.wrappers, self.idx = original, class_obj, list(wrappers), idx
        self.is_last = idx == len(self.wrappers)

    @classmethod
    def new_executor(cls, original: Function, wrappers: Sequence[Function], idx: int = 0) -> WrapperExecutor:
        """Around a plain function."""
        return cls(original, None, wrappers, idx)

    @classmethod
    def new_class_executor(
        cls, original: Function, class_obj: object, wrappers: Sequence[Function], idx: int = 0
    ) -> WrapperExecutor:
        """Around a method; wrappers find its object under `class_obj`."""
        return cls(original, class_obj, wrappers, idx)

    def __call__(self, *args: object, **kwargs: object) -> object:
        """What the next wrapper, or the function itself, answers."""
        return WrapperExecutor(self.original, self.class_obj, self.wrappers, self.idx + 1).execute(*args, **kwargs)

    def execute(self, *args: object, **kwargs: object) -> object:
        """What the wrapper of this place, or the function itself, answers."""
        if self.is_last:
            return self.original(*args, **kwargs)
        return self.wrappers[self.idx](self, *args, **kwargs)


def add(table: Keyed, kind: str, key: str | None, function: Function) -> None:
    """Put a function at the end of a key's list."""
    table.setdefault(kind, {}).setdefault(key, []).append(function)


def functions(kind: str, options: Mapping[str, object] | None, *, table: str = "wrappers") -> list[Function]:
    """All functions of a kind in a MODEL's or a network call's options, keys in order."""
    if not options:
        return []
    inner = cast("Mapping[str, object]", options.get("transformer_options") or options)
    found: list[Function] = []
    for place in (options, inner) if inner is not options else (options,):
        keyed = cast(Keyed, place.get(table) or {})
        for listed in keyed.get(kind, {}).values():
            found += [function for function in listed if function not in found]
    return found


def around(kind: str, options: Mapping[str, object] | None, original: Function, class_obj: object = None) -> Function:
    """A function with the wrappers of a kind around it; itself where there are none, as in every step of most."""
    found = functions(kind, options)
    return WrapperExecutor(original, class_obj, found).execute if found else original


def merged(*tables: Keyed) -> Keyed:
    """One table of several, lists copied."""
    result: Keyed = {}
    for table in tables:
        for kind, keyed in table.items():
            for key, listed in keyed.items():
                result.setdefault(kind, {}).setdefault(key, []).extend(listed)
    return result
