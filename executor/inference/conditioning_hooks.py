"""HOOKS: what holds for the evaluation of some conditionings only - other weights, options, further models.

Class, attribute and method names are the ecosystem's (reference/custom_node_surface.md, comfy.hooks).
Knows no sampling.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from torch import Tensor

from executor.inference.adapters import TowardsModel
from executor.inference.hook_keyframes import HasLevels, HookKeyframeGroup
from executor.inference.lora import is_for_text_only, model_patches, read_layers, tell, tell_unfit, text_patches
from executor.inference.patching import PatchKey
from executor.inference.weights import WeightFile

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.text.clip import Clip

Key: TypeAlias = tuple[tuple[object, float], ...]
"""Which hooks are in force, each with its strength: equal keys mean equal weights and options."""


class EnumHookMode(enum.Enum):
    """What a hook spares: memory, or time."""

    MinVram = "minvram"
    MaxSpeed = "maxspeed"


class EnumHookType(enum.Enum):
    """What a hook changes."""

    Weight = "weight"
    ObjectPatch = "object_patch"
    AdditionalModels = "add_models"
    TransformerOptions = "transformer_options"
    Injections = "add_injections"


class EnumHookScope(enum.Enum):
    """Where a hook counts."""

    AllConditioning = "all_conditioning"
    HookedOnly = "hooked_only"


class EnumWeightTarget(enum.Enum):
    """Whose weights a hook changes."""

    Model = "model"
    Clip = "clip"


class HookTarget(Protocol):
    """What hooks are registered on: a MODEL or a CLIP."""

    def add_hook_patches(
        self, hook: Hook, patches: Mapping[PatchKey, object], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> list[PatchKey]:
        """Know the changes of weights that hold while this hook is in force; tells which of them exist."""
        ...


class Hook:
    """Something that holds while some conditionings are evaluated; hooks of one `hook_ref` do the same."""

    def __init__(
        self,
        hook_type: EnumHookType | None = None,
        hook_ref: object = None,
        hook_id: str | None = None,
        hook_keyframe: HookKeyframeGroup | None = None,
        hook_scope: EnumHookScope = EnumHookScope.AllConditioning,
    ) -> None:
        self.hook_type, self.hook_id, self.hook_scope = hook_type, hook_id, hook_scope
        self.hook_ref = object() if hook_ref is None else hook_ref
        self.hook_keyframe = HookKeyframeGroup() if hook_keyframe is None else hook_keyframe

    @property
    def strength(self) -> float:
        """How strong its keyframes want it at present."""
        return self.hook_keyframe.strength

    def clone(self) -> Hook:
        """The same hook, to be given other keyframes."""
        return copy.copy(self)

    def reset(self) -> None:
        """Back to the first keyframe."""
        self.hook_keyframe.reset()

    def initialize_timesteps(self, model: HasLevels) -> None:
        """Learn at which noise levels the keyframes begin."""
        self.reset()
        self.hook_keyframe.initialize_timesteps(model)

    def key(self) -> Key:
        """What tells it from other hooks at present; nothing when it does nothing."""
        return ((self.hook_ref, self.strength),) if self.strength != 0.0 else ()

    def add_hook_patches(
        self,
        model: HookTarget,
        model_options: Mapping[str, object] | None = None,
        target_dict: Mapping[str, object] | None = None,
        registered: HookGroup | None = None,
    ) -> bool:
        """Tell a MODEL or CLIP the weights it changes; whether there are some."""
        return False

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Hook)
            and type(other) is type(self)
            and other.hook_ref == self.hook_ref
            and other.hook_keyframe is self.hook_keyframe
        )

    def __hash__(self) -> int:
        return hash((self.hook_ref, id(self.hook_keyframe)))


class WeightHook(Hook):
    """Other weights of the diffusion model and of the text model: a LoRA, or the way to another model."""

    def __init__(self, strength_model: float = 1.0, strength_clip: float = 1.0) -> None:
        super().__init__(EnumHookType.Weight, hook_scope=EnumHookScope.HookedOnly)
        self._strength_model, self._strength_clip = strength_model, strength_clip
        self.need_weight_init = True  # whether `weights` are a LoRA file's and not patches yet
        self.weights: Mapping[PatchKey, object] = {}
        self.weights_clip: Mapping[PatchKey, object] = {}
        self.file: Path = Path("LoRA")  # for messages

    @property
    def strength_model(self) -> float:
        """How strongly it changes the diffusion model at present."""
        return self._strength_model * self.strength

    @property
    def strength_clip(self) -> float:
        """How strongly it changes the text model at present."""
        return self._strength_clip * self.strength

    def key(self) -> Key:
        """Itself at its strength; nothing at a strength of zero."""
        return ((self.hook_ref, self.strength),) if self.strength_model != 0.0 else ()

    def add_hook_patches(
        self,
        model: HookTarget,
        model_options: Mapping[str, object] | None = None,
        target_dict: Mapping[str, object] | None = None,
        registered: HookGroup | None = None,
    ) -> bool:
        """Tell a MODEL or CLIP the weights it changes at full strength; whether there are some."""
        for_clip = (target_dict or {}).get("target") is EnumWeightTarget.Clip
        strength = self._strength_clip if for_clip else self._strength_model
        if strength == 0.0:
            return False
        patches = self.clip_patches(cast("Clip", model)) if for_clip else self.model_patches(cast("ModelHandle", model))
        return bool(model.add_hook_patches(self, patches, strength))

    def model_patches(self, model: ModelHandle) -> dict[PatchKey, object]:
        """What it changes of a diffusion model; when that is nothing, the log and the node say so."""
        if not self.need_weight_init:
            found = self._same_shapes(self.weights, model.named_weights())
            if self.weights and not found:
                tell(f"{self.file.name}: none of its weights has the shape of this {model.family} model's")
            return found
        file = WeightFile(path=self.file, tensors=cast("Mapping[str, Tensor]", self.weights))
        layers = read_layers(file)
        changes = model_patches(list(layers.items()), model)
        if not changes and not is_for_text_only(layers):
            tell_unfit(file, layers, f"{model.family} model")
        return {name: adapter for name, (_, adapter) in changes.items()}

    def clip_patches(self, clip: Clip) -> dict[PatchKey, object]:
        """What it changes of a text model; nothing when it has nothing for text."""
        if not self.need_weight_init:
            return self._same_shapes(self.weights_clip, clip.named_weights())
        file = WeightFile(path=self.file, tensors=cast("Mapping[str, Tensor]", self.weights))
        return {name: each for name, (_, each) in text_patches(list(read_layers(file).items()), clip).items()}

    def _same_shapes(self, given: Mapping[PatchKey, object], pristine: Mapping[str, Tensor]) -> dict[PatchKey, object]:
        """Patches for weights that are there; the way to another model starts at the pristine weight."""
        found: dict[PatchKey, object] = {}
        for key, value in given.items():
            own = pristine.get(key if isinstance(key, str) else key[0])
            if isinstance(value, Tensor):
                value = TowardsModel(value, own)
            if own is not None and (not isinstance(value, TowardsModel) or value.target.shape == own.shape):
                found[key] = value
        return found


class TransformerOptionsHook(Hook):
    """Further transformer_options, for the conditionings that have it or for all."""

    def __init__(
        self,
        transformers_dict: Mapping[str, object] | None = None,
        hook_scope: EnumHookScope = EnumHookScope.AllConditioning,
    ) -> None:
        super().__init__(EnumHookType.TransformerOptions, hook_scope=hook_scope)
        self.transformers_dict = dict(transformers_dict or {})


class ObjectPatchHook(Hook):
    """Objects put in the place of the model's while it samples."""

    def __init__(
        self,
        object_patches: Mapping[str, object] | None = None,
        hook_scope: EnumHookScope = EnumHookScope.AllConditioning,
    ) -> None:
        super().__init__(EnumHookType.ObjectPatch, hook_scope=hook_scope)
        self.object_patches = dict(object_patches or {})


class AdditionalModelsHook(Hook):
    """Further MODELs that are loaded along."""

    def __init__(self, models: Sequence[object] = (), key: str | None = None) -> None:
        super().__init__(EnumHookType.AdditionalModels)
        self.models, self.hook_id = list(models), key

    @property
    def name(self) -> str:
        """What they are attached to the MODEL under."""
        return self.hook_id or f"hook {id(self.hook_ref):x}"


class InjectionsHook(Hook):
    """What puts itself into the network for the sampling."""

    def __init__(
        self,
        key: str | None = None,
        injections: Sequence[object] = (),
        hook_scope: EnumHookScope = EnumHookScope.AllConditioning,
    ) -> None:
        super().__init__(EnumHookType.Injections, hook_scope=hook_scope)
        self.injections, self.hook_id = list(injections), key

    @property
    def name(self) -> str:
        """What they are attached to the MODEL under."""
        return self.hook_id or f"hook {id(self.hook_ref):x}"


class HookGroup:
    """Hooks that hold together."""

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        self.hooks: list[Hook] = []
        for hook in hooks:
            self.add(hook)

    def __iter__(self) -> Iterator[Hook]:
        return iter(self.hooks)

    def __len__(self) -> int:
        return len(self.hooks)

    def add(self, hook: Hook) -> None:
        """One more, unless it is there."""
        if hook not in self.hooks:
            self.hooks.append(hook)

    def remove(self, hook: Hook) -> None:
        """One less, if it is there."""
        if hook in self.hooks:
            self.hooks.remove(hook)

    def contains(self, hook: Hook) -> bool:
        """Whether it is there."""
        return hook in self.hooks

    def get_type(self, hook_type: EnumHookType) -> list[Hook]:
        """Those that change a kind of thing."""
        return [hook for hook in self.hooks if hook.hook_type is hook_type]

    def key(self) -> Key:
        """What tells it from other groups at present."""
        return tuple(part for hook in self.hooks for part in hook.key())

    def clone(self) -> HookGroup:
        """The same hooks, to be added to apart."""
        other = HookGroup()
        other.hooks = [hook.clone() for hook in self.hooks]
        return other

    def clone_and_combine(self, other: HookGroup | None) -> HookGroup:
        """Its own hooks and another's."""
        return HookGroup([*self.hooks, *(other.hooks if other is not None else ())])

    def set_keyframes_on_hooks(self, hook_kf: HookKeyframeGroup | None) -> None:
        """Give all of its hooks these keyframes; none: full strength throughout."""
        keyframes = HookKeyframeGroup() if hook_kf is None else hook_kf.clone()
        for hook in self.hooks:
            hook.hook_keyframe = keyframes

    def reset(self) -> None:
        """Back to the first keyframes."""
        for hook in self.hooks:
            hook.reset()

    def initialize_timesteps(self, model: HasLevels) -> None:
        """Learn at which noise levels the keyframes begin."""
        for hook in self.hooks:
            hook.initialize_timesteps(model)

    @staticmethod
    def combine_all_hooks(hooks_list: Iterable[HookGroup | None], require_count: int = 0) -> HookGroup | None:
        """One group of all; None when fewer than `require_count` or none are given."""
        given = [group for group in hooks_list if group is not None]
        if not given or len(given) < require_count:
            return None
        return HookGroup(hook for group in given for hook in group.hooks)


def create_hook_lora(
    lora: Mapping[str, Tensor], strength_model: float, strength_clip: float, path: Path | None = None
) -> HookGroup:
    """Hooks of a LoRA's tensors."""
    hook = WeightHook(strength_model, strength_clip)
    hook.weights = hook.weights_clip = cast("Mapping[PatchKey, object]", lora)
    hook.file = path or hook.file
    return HookGroup([hook])


def create_hook_model_as_lora(
    weights_model: Mapping[str, object] | None,
    weights_clip: Mapping[str, object] | None,
    strength_model: float,
    strength_clip: float,
    path: Path | None = None,
) -> HookGroup:
    """Hooks on the way to another model: its weights by the names of a MODEL and of a CLIP, tensors or patches."""
    hook = WeightHook(strength_model, strength_clip)
    hook.need_weight_init = False
    hook.weights = cast("Mapping[PatchKey, object]", weights_model or {})
    hook.weights_clip = cast("Mapping[PatchKey, object]", weights_clip or {})
    hook.file = path or Path("model")
    return HookGroup([hook])
