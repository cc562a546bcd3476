"""The MODEL under the name that packs know, and patchers around modules that packs bring themselves."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from comfy.handles import Alias
from comfy.patcher_extension import PatcherInjection
from comfy.utils import get_attr, set_attr, string_to_seed
from executor.inference.devices import CPU
from executor.inference.handle import ModelHandle, copied, unconverted
from executor.inference.handle_extras import ModelExtras
from executor.inference.handle_options import ModelOptions
from executor.inference.patching import PatchSet, WeightPatch, split_key
from nodes.placeholders import fallback

__all__ = ["PatcherInjection", "string_to_seed"]

__getattr__ = fallback(__name__)


class ModelPatcher(ModelOptions, ModelExtras, metaclass=Alias):
    """A module of a pack, where it lies and how it is changed; Weft's own MODELs count as instances too.

    Weights are patched when it is loaded and put back when it is unloaded.
    """

    core = ModelHandle

    def __init__(
        self, model: nn.Module, load_device: torch.device, offload_device: torch.device = CPU, size: int = 0,
        weight_inplace_update: bool = False,
    ) -> None:  # fmt: skip
        self.model, self.load_device, self.offload_device, self.size = model, load_device, offload_device, size
        self.weight_inplace_update = weight_inplace_update
        self.model_options: dict[str, object] = {"transformer_options": {}}
        self.patches: dict[str, list[WeightPatch]] = {}
        self.patches_uuid = uuid.uuid4()
        self.object_patches: dict[str, object] = {}
        self.backup: dict[str, nn.Parameter] = {}
        self.object_patches_backup: dict[str, object] = {}
        self.wrappers, self.callbacks = {}, {}
        self.attachments, self.additional_models, self.injections = {}, {}, {}
        self.parent: object = None

    def clone(self) -> ModelPatcher:
        """The same module with options and patches of its own."""
        other = copy.copy(self)
        other.model_options = copied(self.model_options)
        other.patches = {key: list(patches) for key, patches in self.patches.items()}
        other.object_patches = dict(self.object_patches)
        other.attachments, other.parent = {}, self
        self._copy_extras_to(other)
        return other

    def is_clone(self, other: object) -> bool:
        """Whether another patcher is around the same module."""
        return getattr(other, "model", None) is self.model

    def model_size(self) -> int:
        """Bytes of its weights."""
        return self.size or sum(weight.nbytes for weight in self.model.state_dict().values())

    def loaded_size(self) -> int:
        """Bytes of its weights that lie where it computes."""
        return self.model_size() if self.current_loaded_device() == self.load_device else 0

    def current_loaded_device(self) -> torch.device:
        """Where its weights lie."""
        first = next(self.model.parameters(), None)
        return self.offload_device if first is None else first.device

    def model_dtype(self) -> torch.dtype | None:
        """The type of its weights."""
        get_dtype = getattr(self.model, "get_dtype", None)
        first = next(self.model.parameters(), None)
        return get_dtype() if callable(get_dtype) else None if first is None else first.dtype

    def memory_required(self, input_shape: object) -> int:
        """What the module says of one call; none where it says nothing."""
        told = getattr(self.model, "memory_required", None)
        return told(input_shape=input_shape) if callable(told) else 0

    def get_model_object(self, name: str) -> object:
        """What lies at a dotted path, with this patcher's objects in their places."""
        return self.object_patches[name] if name in self.object_patches else get_attr(self.model, name)

    def add_object_patch(self, name: str, obj: object) -> None:
        """Put an object at a dotted path while the module is loaded."""
        self.object_patches[name] = obj

    def add_patches(
        self, patches: Mapping[object, object], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> list[object]:
        """Change weights; tells which of them exist."""
        known = self.model.state_dict()
        taken = []
        for key, value in patches.items():
            name, offset, function = split_key(key)
            if name in known:
                patch = WeightPatch(strength_patch, value, strength_model, offset, function)
                self.patches.setdefault(name, []).append(patch)
                taken.append(key)
        self.patches_uuid = uuid.uuid4()
        return taken

    def get_key_patches(self, filter_prefix: str | None = None) -> dict[str, list[object]]:
        """Every weight with its patches."""
        weights = self.model_state_dict(filter_prefix)
        return {name: [(weight, unconverted), *self.patches.get(name, [])] for name, weight in weights.items()}

    def model_state_dict(self, filter_prefix: str | None = None) -> dict[str, Tensor]:
        """Weights as they are at present."""
        return {
            name: weight for name, weight in self.model.state_dict().items() if name.startswith(filter_prefix or "")
        }

    def patch_model(self, device_to: torch.device | None = None, *more: object, **options: object) -> nn.Module:
        """Move the module to a device, with its patches."""
        for name, obj in self.object_patches.items():
            if name not in self.object_patches_backup:
                self.object_patches_backup[name] = set_attr(self.model, name, obj)
        changes = PatchSet(by_key=self.patches)
        for name in self.patches:
            if name not in self.backup:
                weight = get_attr(self.model, name)
                self.backup[name] = weight
                set_attr(self.model, name, nn.Parameter(changes.applied(name, weight.data), requires_grad=False))
        if device_to is not None:
            self.model.to(device_to)
        return self.model

    def unpatch_model(self, device_to: torch.device | None = None, unpatch_weights: bool = True) -> None:
        """Put the module's own weights and objects back, and move it."""
        if unpatch_weights:
            for name, weight in self.backup.items():
                set_attr(self.model, name, weight)
            self.backup.clear()
        for name, obj in self.object_patches_backup.items():
            set_attr(self.model, name, obj)
        self.object_patches_backup.clear()
        if device_to is not None:
            self.model.to(device_to)

    def load(self, *more: object, **options: object) -> None:
        """Make the module ready to compute."""
        self.patch_model(self.load_device)

    def partially_load(self, device_to: torch.device, extra_memory: int = 0, **options: object) -> int:
        """Make all of it ready; answers with its bytes."""
        self.patch_model(device_to)
        return self.model_size()

    def detach(self, unpatch_all: bool = True) -> nn.Module:
        """Put everything back where it rests."""
        self.unpatch_model(self.offload_device, unpatch_weights=unpatch_all)
        return self.model

    def cleanup(self) -> None:
        """Nothing is left behind."""


ModelPatcherDynamic = ModelPatcher


def create_model_options_clone(orig_model_options: Mapping[str, object]) -> dict[str, object]:
    """Options with every dictionary and list within copied."""
    return copied(orig_model_options)


def set_model_options_patch_replace(
    model_options: dict[str, object], patch: object, name: str, block_name: str, number: int,
    transformer_index: int | None = None,
) -> dict[str, object]:  # fmt: skip
    """Options with a function in the place of an attention."""
    changed = copied(model_options)
    replaced = changed.setdefault("transformer_options", {}).setdefault("patches_replace", {})
    block = (block_name, number) if transformer_index is None else (block_name, number, transformer_index)
    replaced.setdefault(name, {})[block] = patch
    return changed


def _with_hook(model_options: Mapping[str, object], name: str, hook: object, both_sides: bool) -> dict[str, object]:
    changed = dict(model_options)
    changed[name] = [*changed.get(name, []), hook]
    if both_sides:
        changed["disable_cfg1_optimization"] = True
    return changed


def set_model_options_post_cfg_function(
    model_options: dict[str, object], post_cfg_function: Callable[..., Tensor], disable_cfg1_optimization: bool = False
) -> dict[str, object]:
    """Options with one more function on the guided result."""
    return _with_hook(model_options, "sampler_post_cfg_function", post_cfg_function, disable_cfg1_optimization)


def set_model_options_pre_cfg_function(
    model_options: dict[str, object], pre_cfg_function: Callable[..., object], disable_cfg1_optimization: bool = False
) -> dict[str, object]:
    """Options with one more function on the sides before they are mixed."""
    return _with_hook(model_options, "sampler_pre_cfg_function", pre_cfg_function, disable_cfg1_optimization)
