"""The MODEL that nodes hand around: a diffusion model and how it is changed. Knows neither samplers nor conditioning.

Method names and arguments are the ecosystem's (reference/custom_node_surface.md, "Object protocols").
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.attention_kernels import by_kernels
from executor.inference.conditioning_hooks import EnumHookMode
from executor.inference.denoiser import ModelSampling
from executor.inference.devices import CPU, free_bytes
from executor.inference.diffusion import PREFIX, DiffusionModel
from executor.inference.handle_extras import ModelExtras
from executor.inference.handle_hooks import ModelHooks
from executor.inference.handle_names import PatcherNames
from executor.inference.handle_options import ModelOptions
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Memory
from executor.inference.objects import attribute
from executor.inference.patching import PatchKey, PatchSet, WeightPatch, split_key
from executor.inference.recordable import compiled_regions, may_record, runs_nothing_else
from executor.inference.shortage import attempt
from executor.inference.wrappers import ON_CLEANUP, ON_CLONE, ON_DETACH, ON_LOAD, ON_PRE_RUN, ON_PREPARE_STATE

WeightGetter = Callable[..., Tensor]
Answer = TypeVar("Answer")

# Of the working memory that is reckoned with: with less than this no attempt succeeds.
LEAST_SHARE = 0.5


class ModelHandle(ModelOptions, ModelExtras, ModelHooks, PatcherNames):
    """A diffusion model as one branch of a graph sees it: clones share weights and differ in options and patches."""

    def __init__(
        self,
        *,
        model: DiffusionModel,
        family: str,
        latent_format: LatentFormat,
        memory: Memory,
        model_options: dict[str, object] | None = None,
        parent: ModelHandle | None = None,
    ) -> None:
        self.model, self.family, self.latent_format, self.memory = model, family, latent_format, memory
        self.model_options = {"transformer_options": {}} if model_options is None else model_options
        self.parent = parent
        self.id = uuid.uuid4()
        self.patches: dict[str, list[WeightPatch]] = {}
        self.patches_uuid = uuid.UUID(int=0)  # the same for every unpatched clone
        self.object_patches: dict[str, object] = {}
        self.wrappers, self.callbacks = {}, {}
        self.attachments, self.additional_models, self.injections = {}, {}, {}
        self.hook_mode = EnumHookMode.MaxSpeed
        self._forget_hooks()
        self.sampled_shape: torch.Size | None = None  # of the latents it is loaded for
        self.offload_device = CPU
        self.compute_dtype: torch.dtype | None = None  # None: as the device has it

    # ---------------------------------------------------------------- identity

    def clone(self) -> ModelHandle:
        """The same model with options and patches of its own."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.model_options = copied(self.model_options)
        copy.id, copy.parent = uuid.uuid4(), self
        copy.patches = {key: list(patches) for key, patches in self.patches.items()}
        copy.object_patches = dict(self.object_patches)
        copy.attachments = {}
        copy._forget_hooks()
        self._copy_extras_to(copy)
        for callback in self.get_all_callbacks(ON_CLONE):
            callback(self, copy)
        return copy

    def is_clone(self, other: object) -> bool:
        """Whether another MODEL shares this one's network."""
        return isinstance(other, ModelHandle) and other.model is self.model

    def clone_has_same_weights(self, clone: ModelHandle) -> bool:
        """Whether another clone wants the same weights."""
        return self.is_clone(clone) and clone.patches_uuid == self.patches_uuid

    # ---------------------------------------------------------------- where it lies

    @property
    def load_device(self) -> torch.device:
        """Where the model computes."""
        return self.memory.device

    @property
    def nbytes(self) -> int:
        """Bytes of its weights in the file's types."""
        return self.model.part.nbytes()

    def model_size(self) -> int:
        """`nbytes` under the name that packs know."""
        return self.nbytes

    def loaded_size(self) -> int:
        """Bytes of its weights that were copied to where it computes."""
        return self.model.part.resident_bytes()

    def current_loaded_device(self) -> torch.device:
        """Where its weights lie at present."""
        placement = self.model.part.placement
        return self.offload_device if placement is None else placement.device

    def memory_required(self, input_shape: torch.Size) -> int:
        """Bytes that one call on latents of a shape needs beside the weights."""
        return self.model.memory_required(torch.Size(input_shape))

    def model_dtype(self) -> torch.dtype:
        """The type it computes in."""
        return self.model.get_dtype()

    def set_model_compute_dtype(self, dtype: torch.dtype | None) -> None:
        """Compute in this type; None: as the device has it."""
        self.compute_dtype = dtype

    def load(self, latent_shape: torch.Size | None = None) -> None:
        """Make the model ready to compute as patched, with room for latents [B, 4, h, w]."""
        self.model.objects.apply(self.object_patches)
        needed = self.model.working_bytes(latent_shape) if latent_shape else 0
        self.sampled_shape = latent_shape
        kept = self.model.text_bytes(latent_shape) if latent_shape else 0
        self.memory.load(self.model.part, needed + kept, self.patch_set(), self.compute_dtype)
        if latent_shape:
            self._refuse_too_large(latent_shape, needed)
        self.model.current_patcher = self
        self.model_patches_to(self.load_device)
        self.model_patches_to(self.model_dtype())
        self._call_back(ON_LOAD, self.load_device, 0, False, False)

    def _refuse_too_large(self, shape: torch.Size, needed: int) -> None:
        """NodeInputError for latents that have no chance: an attempt would take the whole machine with it."""
        free = free_bytes(self.memory.device)
        if needed * LEAST_SHARE <= free:
            return
        cell = self.latent_format.downscale
        raise NodeInputError(
            f"{shape[0]} latents of {shape[-1] * cell} x {shape[-2] * cell} pixels (counted for both sides) "
            f"need about {needed / 1e9:.1f} GB beside the model's weights, but {free / 1e9:.1f} GB are free "
            f"on {self.load_device}: choose a smaller picture or batch"
        )

    def patch_model(self, device_to: object = None, **options: object) -> DiffusionModel:
        """`load` under the name that packs know."""
        self.load()
        return self.model

    def unpatch_model(self, device_to: object = None, unpatch_weights: bool = True) -> None:
        """Take every patch off again."""
        self.model.objects.apply({})
        if unpatch_weights:
            self.model.part.patch(PatchSet())

    def detach(self, unpatch_all: bool = True) -> DiffusionModel:
        """Take every patch off and give the weights' memory back."""
        self.unpatch_model()
        self.model.part.release()
        self._call_back(ON_DETACH, unpatch_all)
        return self.model

    @contextmanager
    def loaded_for(self, latent_shape: torch.Size) -> Iterator[None]:
        """The model loaded and kept for the time of a sampling, with its further models and injections.

        At its end, however it comes, no hook is in force any more.
        """
        others = [other for other in self.get_additional_models() if isinstance(other, ModelHandle)]
        kept = [self.model.part, *(other.model.part for other in others)]
        with self.memory.keeping(kept), by_kernels(self.memory.kernels()):
            for other in others:
                other.load()
            self.load(latent_shape)
            self.inject_model()
            self._call_back(ON_PRE_RUN)
            self.model.records, self.model.regions = may_record(self), compiled_regions(self)
            self.model.keeps_texts = runs_nothing_else(self)
            try:
                yield
            finally:
                self.model.records, self.model.regions, self.model.keeps_texts = False, None, False
                self.clean_hooks()
                self._call_back(ON_CLEANUP)
                self.eject_model()

    def within_memory(self, run: Callable[[], Answer]) -> Answer:
        """What `run` answers, tried once more with less when memory runs out; OutOfMemory after that."""
        return attempt(self.memory, run)

    def prepare_state(self, timestep: object) -> None:
        """Tell those who want to know that a step begins."""
        self._call_back(ON_PREPARE_STATE, timestep)

    # ---------------------------------------------------------------- objects

    def add_object_patch(self, name: str, obj: object) -> None:
        """Put another object at a dotted path of the model while it is used."""
        self.object_patches[name] = obj

    def get_model_object(self, name: str) -> Any:  # noqa: ANN401  (whatever lies at the path)
        """What lies at a dotted path when this MODEL is used; NodeInputError when nothing does."""
        if name in self.object_patches:
            return self.object_patches[name]
        for patched, item in self.object_patches.items():
            if name.startswith(f"{patched}."):
                return attribute(item, name[len(patched) + 1 :])
        return self.model.objects.pristine(name)

    @property
    def model_sampling(self) -> ModelSampling:
        """Noise levels and prediction type, as patched."""
        return cast(ModelSampling, self.get_model_object("model_sampling"))

    def model_patches_to(self, target: torch.device | torch.dtype) -> None:
        """Move what packs put at patch points, where it can be moved."""
        transformer_options = self.transformer_options()
        for table in (transformer_options.get("patches"), transformer_options.get("patches_replace")):
            for held in cast("Mapping[str, Any]", table or {}).values():
                for key, patch in list(held.items() if isinstance(held, dict) else enumerate(held)):
                    if hasattr(patch, "to"):
                        held[key] = patch.to(target)
        wrapper = self.model_options.get("model_function_wrapper")
        if wrapper is not None and hasattr(wrapper, "to"):
            self.model_options["model_function_wrapper"] = wrapper.to(target)

    # ---------------------------------------------------------------- weights

    def add_patches(
        self, patches: Mapping[PatchKey, object], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> list[PatchKey]:
        """Change weights, named with `diffusion_model.` before them; tells which of them exist."""
        taken: list[PatchKey] = []
        for key, value in patches.items():
            name, offset, function = split_key(key)
            if name.removeprefix(PREFIX) not in self.model.part.weights or not name.startswith(PREFIX):
                continue
            patch = WeightPatch(strength_patch, value, strength_model, offset, function)
            self.patches.setdefault(name, []).append(patch)
            taken.append(key)
        self.patches_uuid = uuid.uuid4()
        return taken

    def named_weights(self) -> dict[str, Tensor]:
        """Its pristine weights, mapped from the file, named with `diffusion_model.` before them."""
        return {f"{PREFIX}{key}": weight for key, weight in self.model.part.weights.items()}

    def module_name(self, name: str) -> str:
        """The network's own name of a weight."""
        return name.removeprefix(PREFIX)

    def patch_set(self) -> PatchSet:
        """Its patches by the names of the network's weights."""
        by_key = {self.module_name(name): patches for name, patches in self.patches.items()}
        return PatchSet(by_key=by_key, id=self.patches_uuid)

    def get_key_patches(self, filter_prefix: str | None = None) -> dict[str, list[object]]:
        """Every weight with this MODEL's patches, [(weight, convert), *patches]: what merging hands to another one."""
        found: dict[str, list[object]] = {}
        for key, weight in self.model.part.weights.items():
            name = f"{PREFIX}{key}"
            if filter_prefix is None or name.startswith(filter_prefix):
                found[name] = [(weight, unconverted), *self.patches.get(name, [])]
        return found

    def model_state_dict(self, filter_prefix: str | None = None) -> dict[str, Tensor]:
        """Weights as they are at present, named with `diffusion_model.` before them."""
        present = self.model.state_dict()
        return {name: weight for name, weight in present.items() if name.startswith(filter_prefix or "")}

    def patched_weights(self) -> dict[str, Tensor]:
        """The network's weights with this MODEL's patches, in the file's types, by the network's names."""
        patches = self.patch_set()
        weights = self.model.part.weights
        return {key: patches.applied(key, w) if key in patches.by_key else w for key, w in weights.items()}


def unconverted(weight: Tensor, **options: object) -> Tensor:
    """The weight itself: ours are stored as they are used."""
    return weight


def model_object(handle: ModelHandle, name: str, kind: type) -> object:
    """What lies at a dotted path of a MODEL; NodeInputError when it is of another kind."""
    found = handle.get_model_object(name)
    if not isinstance(found, kind):
        raise NodeInputError(f"the model's {name!r} is a {type(found).__name__}, where a {kind.__name__} is needed")
    return found


def copied(options: Mapping[str, object]) -> dict[str, object]:
    """Options with every dictionary and list within copied; other values are shared."""
    return {name: copied_value(value) for name, value in options.items()}


def copied_value(value: object) -> object:
    """One option, copied where clones could change it."""
    if isinstance(value, dict):
        return copied(value)
    return list(value) if isinstance(value, list) else value
