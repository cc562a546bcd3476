"""Wrappers, callbacks and injections of a MODEL under the names that packs use; the functions are Weft's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from executor.inference import wrappers
from executor.inference.wrappers import WrapperExecutor
from nodes.placeholders import fallback

__all__ = ["WrapperExecutor"]
__getattr__ = fallback(__name__)

Function = Callable[..., object]


class CallbacksMP:
    """Moments of a MODEL's life."""

    ON_CLONE = wrappers.ON_CLONE
    ON_LOAD = wrappers.ON_LOAD
    ON_DETACH = wrappers.ON_DETACH
    ON_CLEANUP = wrappers.ON_CLEANUP
    ON_PRE_RUN = wrappers.ON_PRE_RUN
    ON_PREPARE_STATE = wrappers.ON_PREPARE_STATE
    ON_APPLY_HOOKS = wrappers.ON_APPLY_HOOKS
    ON_REGISTER_ALL_HOOK_PATCHES = "on_register_all_hook_patches"
    ON_INJECT_MODEL = wrappers.ON_INJECT_MODEL
    ON_EJECT_MODEL = wrappers.ON_EJECT_MODEL

    @classmethod
    def init_callbacks(cls) -> dict[str, dict[str | None, list[Function]]]:
        """An empty table."""
        return {}


class WrappersMP:
    """Moments of sampling that functions can stand around."""

    OUTER_SAMPLE = wrappers.OUTER_SAMPLE
    PREPARE_SAMPLING = wrappers.PREPARE_SAMPLING
    SAMPLER_SAMPLE = wrappers.SAMPLER_SAMPLE
    PREDICT_NOISE = wrappers.PREDICT_NOISE
    CALC_COND_BATCH = wrappers.CALC_COND_BATCH
    APPLY_MODEL = wrappers.APPLY_MODEL
    DIFFUSION_MODEL = wrappers.DIFFUSION_MODEL

    @classmethod
    def init_wrappers(cls) -> dict[str, dict[str | None, list[Function]]]:
        """An empty table."""
        return {}


@dataclass
class PatcherInjection:
    """What puts itself into a network before sampling, and out after it."""

    inject: Callable[[object], None]
    eject: Callable[[object], None]


def _options(model_options: dict[str, object], is_model_options: bool) -> dict[str, object]:
    return model_options.setdefault("transformer_options", {}) if is_model_options else model_options


def add_callback(
    call_type: str, callback: Function, transformer_options: dict[str, object], is_model_options: bool = False
) -> None:
    """Have a function called at a moment."""
    add_callback_with_key(call_type, None, callback, transformer_options, is_model_options)


def add_callback_with_key(
    call_type: str, key: str | None, callback: Function, transformer_options: dict[str, object],
    is_model_options: bool = False,
) -> None:  # fmt: skip
    """Have a function called at a moment, under a key."""
    table = _options(transformer_options, is_model_options).setdefault("callbacks", {})
    wrappers.add(table, call_type, key, callback)


def add_wrapper(
    wrapper_type: str, wrapper: Function, transformer_options: dict[str, object], is_model_options: bool = False
) -> None:
    """Put a function around a moment."""
    add_wrapper_with_key(wrapper_type, None, wrapper, transformer_options, is_model_options)


def add_wrapper_with_key(
    wrapper_type: str, key: str | None, wrapper: Function, transformer_options: dict[str, object],
    is_model_options: bool = False,
) -> None:  # fmt: skip
    """Put a function around a moment, under a key."""
    table = _options(transformer_options, is_model_options).setdefault("wrappers", {})
    wrappers.add(table, wrapper_type, key, wrapper)


def _found(table: str, kind: str, options: dict[str, object], is_model_options: bool) -> list[Function]:
    keyed: Mapping[object, list[Function]] = _options(options, is_model_options).get(table, {}).get(kind, {})
    return [each for listed in keyed.values() for each in listed]


def get_all_callbacks(
    call_type: str, transformer_options: dict[str, object], is_model_options: bool = False
) -> list[Function]:
    """The functions to call at a moment."""
    return _found("callbacks", call_type, transformer_options, is_model_options)


def get_all_wrappers(
    wrapper_type: str, transformer_options: dict[str, object], is_model_options: bool = False
) -> list[Function]:
    """The functions around a moment."""
    return _found("wrappers", wrapper_type, transformer_options, is_model_options)


def get_callbacks_with_key(
    call_type: str, key: str | None, transformer_options: dict[str, object], is_model_options: bool = False
) -> list[Function]:
    """The functions to call at a moment that stand under a key."""
    options = _options(transformer_options, is_model_options)
    return list(options.get("callbacks", {}).get(call_type, {}).get(key, []))


def get_wrappers_with_key(
    wrapper_type: str, key: str | None, transformer_options: dict[str, object], is_model_options: bool = False
) -> list[Function]:
    """The functions around a moment that stand under a key."""
    options = _options(transformer_options, is_model_options)
    return list(options.get("wrappers", {}).get(wrapper_type, {}).get(key, []))


def merge_nested_dicts(dict1: dict[object, object], dict2: dict[object, object], copy_dict1: bool = True) -> object:
    """One dictionary of two, dictionaries within merged and lists joined."""
    merged = copy_nested_dicts(dict1) if copy_dict1 else dict1
    for key, value in dict2.items():
        if isinstance(value, dict):
            merged[key] = merge_nested_dicts(merged.get(key, {}), value)
        elif isinstance(value, list):
            merged[key] = [*merged.get(key, []), *value]
        else:
            merged[key] = value
    return merged


def copy_nested_dicts(input_dict: dict[object, object]) -> dict[object, object]:
    """Dictionaries and lists copied all the way down; other values are shared."""
    return {
        key: copy_nested_dicts(value) if isinstance(value, dict) else list(value) if isinstance(value, list) else value
        for key, value in input_dict.items()
    }
