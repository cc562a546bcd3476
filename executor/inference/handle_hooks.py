"""Hooks on a MODEL: which are known to it, and which of them its weights and options are under at present.

Names and arguments are the ecosystem's (reference/custom_node_surface.md, comfy.hooks). Knows no guidance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.conditioning_hooks import (
    AdditionalModelsHook,
    EnumHookMode,
    EnumHookScope,
    EnumWeightTarget,
    Hook,
    HookGroup,
    InjectionsHook,
    ObjectPatchHook,
    TransformerOptionsHook,
)
from executor.inference.hook_weights import HookWeights
from executor.inference.patching import PatchKey, WeightPatch, split_key
from executor.inference.wrappers import ON_APPLY_HOOKS

if TYPE_CHECKING:
    from executor.inference.conditioning_hooks import Key
    from executor.inference.handle import ModelHandle
    from executor.inference.values import Conditioning

Options = Mapping[str, object]


class ModelHooks:
    """Hooks that are registered while a MODEL samples; none stay behind."""

    hook_patches: dict[object, dict[str, list[WeightPatch]]]  # hook's reference → weight's name → changes
    hook_mode: EnumHookMode
    current_hooks: HookGroup | None
    registered_hooks: HookGroup
    hook_weights: HookWeights | None

    def _forget_hooks(self) -> None:
        self.hook_patches, self.registered_hooks = {}, HookGroup()
        self.current_hooks, self.hook_weights = None, None

    def set_hook_mode(self, hook_mode: EnumHookMode) -> None:
        """Keep weights that were made under hooks while memory allows, or never."""
        self.hook_mode = hook_mode

    # ---------------------------------------------------------------- knowing

    def add_hook_patches(
        self, hook: Hook, patches: Mapping[PatchKey, object], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> list[PatchKey]:
        """Know the changes of weights that hold while this hook is in force; tells which of them exist."""
        known, taken = as_handle(self).named_weights(), []
        held = self.hook_patches.setdefault(hook.hook_ref, {})
        for key, value in patches.items():
            name, offset, function = split_key(key)
            if name in known:
                held.setdefault(name, []).append(WeightPatch(strength_patch, value, strength_model, offset, function))
                taken.append(key)
        return taken

    def register_all_hook_patches(
        self,
        hooks: HookGroup,
        target_dict: Mapping[str, object] | None = None,
        model_options: Options | None = None,
        registered: HookGroup | None = None,
    ) -> None:
        """Know hooks that will come into force; the node is told of those that fit nothing."""
        target = {"target": EnumWeightTarget.Model} if target_dict is None else target_dict
        for hook in hooks:
            if self.registered_hooks.contains(hook):
                continue
            hook.initialize_timesteps(as_handle(self))
            self.registered_hooks.add(hook)
            if hook.hook_ref not in self.hook_patches:  # the same with other keyframes changes the same weights
                hook.add_hook_patches(as_handle(self), model_options, target, registered)

    def prepare_hook_patches_current_keyframe(
        self, t: float | Tensor, hook_group: HookGroup | None = None, model_options: Options | None = None
    ) -> None:
        """Go on to the keyframes that hold at a noise level; weights at strengths that passed are forgotten."""
        options = cast("Options", (model_options or {}).get("transformer_options") or {})
        for hook in self.registered_hooks:
            hook.hook_keyframe.prepare_current_keyframe(t, options)
        if self.hook_weights is not None:
            self.hook_weights.drop_stale({part for hook in self.registered_hooks for part in hook.key()})

    # ---------------------------------------------------------------- being in force

    def apply_hooks(
        self, hooks: HookGroup | None, transformer_options: Options | None = None, force_apply: bool = False
    ) -> dict[str, object]:
        """Bring these hooks into force, and no others; answers with the transformer_options that they add."""
        handle = as_handle(self)
        group = HookGroup() if hooks is None else hooks
        self.register_all_hook_patches(group)
        key: Key = tuple(part for part in group.key() if part[0] in self.hook_patches)
        if key or self.hook_weights is not None:
            self._weights().switch(key, self._by_module_name())
        changes, self.current_hooks = self.current_hooks is not hooks, hooks
        if changes or force_apply:
            handle._call_back(ON_APPLY_HOOKS, hooks)
        added: dict[str, object] = {}
        for hook in group:
            if isinstance(hook, TransformerOptionsHook) and hook.hook_scope is EnumHookScope.HookedOnly:
                added = joined(added, hook.transformers_dict)
        return added

    def patch_hooks(self, hooks: HookGroup | None) -> None:
        """`apply_hooks` for the weights alone, under the name that packs know."""
        self.apply_hooks(hooks)

    def unpatch_hooks(self, whitelist_keys_set: object = None) -> None:
        """Put the weights without hooks back."""
        if self.hook_weights is not None:
            self.hook_weights.restore()
        self.current_hooks = None

    def clean_hooks(self) -> None:
        """Put the weights without hooks back and know no hook any more."""
        hooks = self.registered_hooks
        self.unpatch_hooks()
        self._forget_hooks()
        hooks.reset()

    def _weights(self) -> HookWeights:
        handle = as_handle(self)
        if self.hook_weights is None:
            working = handle.model.working_bytes(handle.sampled_shape) if handle.sampled_shape else 0
            self.hook_weights = HookWeights(handle.model.part, handle.memory, handle.patch_set(), working_bytes=working)
            self.hook_weights.keeps = self.hook_mode is EnumHookMode.MaxSpeed
        return self.hook_weights

    def _by_module_name(self) -> dict[object, dict[str, list[WeightPatch]]]:
        names = as_handle(self).module_name
        return {ref: {names(name): held for name, held in table.items()} for ref, table in self.hook_patches.items()}

    # ---------------------------------------------------------------- one sampling

    def under(self, hooks: HookGroup | None) -> ModelHandle:
        """This MODEL, or a clone with the models, injections and objects that hooks bring."""
        bringing = (AdditionalModelsHook, InjectionsHook, ObjectPatchHook)
        found = [hook for hook in hooks or () if isinstance(hook, bringing)]
        if not found:
            return as_handle(self)
        other = as_handle(self).clone()
        for hook in found:
            if isinstance(hook, AdditionalModelsHook):
                other.set_additional_models(hook.name, hook.models)
            elif isinstance(hook, InjectionsHook):
                other.set_injections(hook.name, hook.injections)
            else:
                for path, item in hook.object_patches.items():
                    other.add_object_patch(path, item)
        return other


def as_handle(hooked: ModelHooks) -> ModelHandle:
    """The MODEL that hooks are on."""
    return cast("ModelHandle", hooked)


def joined(options: Options, more: Options) -> dict[str, object]:
    """Options with more of them: dictionaries joined within, lists put together, other values replaced."""
    result = dict(options)
    for name, value in more.items():
        before = result.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[name] = joined(cast(Options, before), cast(Options, value))
        elif isinstance(before, list) and isinstance(value, list):
            result[name] = [*before, *value]
        else:
            result[name] = value
    return result


def with_hook_options(options: dict[str, object], hooks: HookGroup | None) -> dict[str, object]:
    """A sampling's options with the transformer_options of hooks that count for all conditionings."""
    for hook in hooks or ():
        if isinstance(hook, TransformerOptionsHook) and hook.hook_scope is EnumHookScope.AllConditioning:
            inner = cast(Options, options.get("transformer_options") or {})
            options = {**options, "transformer_options": joined(inner, hook.transformers_dict)}
    return options


def hooks_of(conditionings: Sequence[Conditioning]) -> HookGroup | None:
    """All hooks of conditionings and of their controls; None without any."""
    found: list[HookGroup | None] = []
    for conditioning in conditionings:
        for entry in conditioning:
            options = cast(Options, entry[1])
            found.append(cast("HookGroup | None", options.get("hooks")))
            extra = getattr(options.get("control"), "get_extra_hooks", None)
            found += cast("list[HookGroup]", extra()) if callable(extra) else []
    return HookGroup.combine_all_hooks(found)


def moved(model: object, sigma: float, options: Options) -> None:
    """Let the hooks of a model under sampling go on to the keyframes of a noise level."""
    handle = getattr(model, "current_patcher", None)
    if handle is not None and len(handle.registered_hooks):
        handle.prepare_hook_patches_current_keyframe(sigma, None, options)


def in_force(model: object, hooks: HookGroup | None, options: Options) -> Options:
    """Bring hooks into force on a model under sampling; the options of its call with theirs.

    Raises NodeInputError when nothing is known of the model's weights.
    """
    handle = getattr(model, "current_patcher", None)
    if handle is None:
        if hooks is None:
            return options
        raise NodeInputError("this model cannot be put under hooks: nothing is known of its weights")
    if hooks is None and not len(handle.registered_hooks):
        return options
    added = handle.apply_hooks(hooks, options.get("transformer_options"))
    if not added:
        return options
    inner = cast(Options, options.get("transformer_options") or {})
    return {**options, "transformer_options": joined(inner, added)}
