"""Which calls of a network may be recorded and played back: those that run none of a pack's code.

Patches of Weft's own that are functions of what they are given (FreeU) may be among them.

What a function of a pack does beside computing (counting steps, reading values, changing weights) would be lost when a
call is played back. Knows not how calls are recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from executor.inference import attention
from executor.inference.hooks import pure_patches
from executor.inference.network import DiffusionNetwork

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.regions import Regions

OWN = ("executor.", "torch.")
NETWORK = "diffusion_model"
AROUND_CALLS = ("model_function_wrapper",)


def may_record(handle: ModelHandle) -> bool:
    """Whether calls of a MODEL's network may be recorded in the sampling that begins."""
    return handle.memory.ways.records and handle.model.part.recordings is not None and runs_nothing_else(handle)


def compiled_regions(handle: ModelHandle) -> Regions | None:
    """The compiled layers for the sampling that begins; None where there are none, or a pack's code has a part in it.

    Recordings that were made with other code are void.
    """
    regions, part = handle.memory.regions(), handle.model.part
    if regions is None or not runs_nothing_else(handle):
        return None
    regions.begin()
    if part.generation != regions.generation and part.recordings is not None:
        part.recordings.clear()
    part.generation = regions.generation
    return regions


def runs_nothing_else(handle: ModelHandle) -> bool:
    """Whether a MODEL's network computes alone, from weights that lie where it computes."""
    part, network = handle.model.part, handle.model.diffusion_model
    placed = part.placement
    if part.stream is not None or placed is None or placed.device != placed.compute_device:
        return False
    if network is not part.module or not isinstance(network, DiffusionNetwork):
        return False
    changed = (handle.injections, handle.wrappers, handle.callbacks, handle.additional_models)
    # What replaces the sampling's own objects (ModelSamplingDiscrete and its like) is computed outside the network.
    replaced = any(path.startswith(NETWORK) for path in handle.object_patches)
    if replaced or any(changed) or any(handle.model_options.get(name) for name in AROUND_CALLS):
        return False
    return is_untouched(network)


def is_untouched(network: nn.Module) -> bool:
    """Whether a network's modules are as they were built: without hooks and with their own `forward`."""
    for module in network.modules():
        own = vars(module)
        if "forward" in own or "forward_orig" in own or own["_forward_hooks"] or own["_forward_pre_hooks"]:
            return False
        if not type(module).__module__.startswith(OWN):
            return False
    return True


def is_plain(transformer_options: Mapping[str, object]) -> bool:
    """Whether a network's call runs nothing but the network and pure patches; without gradients, in its own types."""
    if torch.is_autocast_enabled("cuda") or torch.is_autocast_enabled("cpu"):  # its copies of weights do not last
        return False
    if not torch.is_inference_mode_enabled() or attention.attend.is_replaced or attention.attend_masked.is_replaced:
        return False
    tables = (transformer_options.get(name) for name in ("patches_replace", "wrappers"))
    if pure_patches(transformer_options) is None or any(
        held for table in tables for held in cast("Mapping[str, object]", table or {}).values()
    ):
        return False
    return not transformer_options.get("optimized_attention_override")
