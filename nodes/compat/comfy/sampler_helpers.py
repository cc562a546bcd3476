"""Conditioning in the form that samplers of packs see, masks for latents, and models made ready. Knows no method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from comfy.utils import reshape_mask
from executor.inference.guider import convert_cond
from nodes.placeholders import fallback

__all__ = ["convert_cond"]

__getattr__ = fallback(__name__)

Conds = Mapping[str, Sequence[Mapping[str, object]]]


def prepare_mask(noise_mask: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
    """A mask in the shape of latents [B, C, H, W], on a device."""
    return reshape_mask(noise_mask, shape).to(device)


def get_models_from_cond(cond: Iterable[Mapping[str, object]], model_type: str) -> list[object]:
    """What the entries hold under a name, lists joined."""
    found: list[object] = []
    for entry in cond:
        value = entry.get(model_type)
        if value is not None:
            found += value if isinstance(value, list) else [value]
    return found


def get_additional_models(conds: Conds, dtype: torch.dtype) -> tuple[list[object], int]:
    """The models that ControlNets and GLIGENs of the conditions need, and their memory beside the weights."""
    controls = list(dict.fromkeys(each for cond in conds.values() for each in get_models_from_cond(cond, "control")))
    models = [model for control in controls for model in control.get_models()]
    memory = sum(control.inference_memory_requirements(dtype) for control in controls)
    models += [gligen[1] for cond in conds.values() for gligen in get_models_from_cond(cond, "gligen")]
    return models, memory


def get_additional_models_from_model_options(model_options: Mapping[str, object] | None = None) -> list[object]:
    """The models that the options register."""
    registered = (model_options or {}).get("registered_hooks")
    return list(getattr(registered, "models", []))


def cleanup_additional_models(models: Iterable[object]) -> None:
    """Let models that can do so clean up."""
    for model in models:
        if hasattr(model, "cleanup"):
            model.cleanup()


def cleanup_models(conds: Conds, models: Iterable[object]) -> None:
    """Let the models and the conditions' ControlNets clean up."""
    cleanup_additional_models(models)
    cleanup_additional_models(
        dict.fromkeys(each for cond in conds.values() for each in get_models_from_cond(cond, "control"))
    )


def prepare_sampling(
    model: object, noise_shape: Sequence[int], conds: Conds, model_options: Mapping[str, object] | None = None,
    **options: object,
) -> tuple[object, Conds, list[object]]:  # fmt: skip
    """A MODEL and what its conditions need, loaded: (what lies behind the MODEL, conditions, further models)."""
    models, _ = get_additional_models(conds, model.model_dtype())
    model.load(torch.Size((noise_shape[0] * 2, *noise_shape[1:])))
    return model.model, conds, models


def prepare_model_patcher(model: object, conds: Conds, model_options: Mapping[str, object]) -> None:
    """Nothing: a MODEL is ready once it is loaded."""
