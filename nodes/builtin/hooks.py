"""Nodes that make hooks: LoRAs and models that hold for some conditionings only, and their keyframes. Know no maths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from executor.inference.conditioning_hooks import HookGroup, create_hook_lora, create_hook_model_as_lora
from executor.inference.hook_keyframes import HookKeyframe, HookKeyframeGroup, interpolated, with_row
from nodes.builtin.inputs import Entry, InputTypes, choice, decimal, files, flag, integer, socket
from nodes.builtin.services import model_path, services

if TYPE_CHECKING:
    from executor.inference.text.clip import Clip

PACK = "comfy_extras.nodes_hooks"
CREATE, SCHEDULING, COMBINE = "advanced/hooks/create", "advanced/hooks/scheduling", "advanced/hooks/combine"
STRENGTH = decimal(1.0, -20.0, 20.0)
EASINGS = ["linear", "ease_in", "ease_out", "ease_in_out"]
LETTERS = "ABCDEFGH"


def percent(default: float) -> Entry:
    """A share of the sampling, 0 being pure noise."""
    return decimal(default, 0.0, 1.0, 0.001)


def after(before: HookGroup | None, hooks: HookGroup) -> HookGroup:
    """Hooks behind those that were there."""
    return hooks if before is None else before.clone_and_combine(hooks)


class CreateHookLora:
    """Makes a hook of a LoRA file, for the conditionings it is attached to."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Create Hook LoRA"
    CATEGORY = CREATE
    RETURN_TYPES = ("HOOKS",)
    FUNCTION = "create_hook"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {"lora_name": files("loras"), "strength_model": STRENGTH, "strength_clip": STRENGTH},
            "optional": {"prev_hooks": socket("HOOKS")},
        }

    def create_hook(
        self, lora_name: str, strength_model: float, strength_clip: float, prev_hooks: HookGroup | None = None
    ) -> tuple[HookGroup]:
        """The hooks before with the LoRA's behind; ModelFileError when the file is no LoRA."""
        if strength_model == 0 and strength_clip == 0:
            return (HookGroup() if prev_hooks is None else prev_hooks,)
        from executor.inference.lora import read_layers
        from executor.inference.weights import read_weights

        file = read_weights(model_path("loras", lora_name, "lora_name"))
        read_layers(file)  # a file that is none is refused here, and not in the middle of a sampling
        return (after(prev_hooks, create_hook_lora(file.tensors, strength_model, strength_clip, file.path)),)


class CreateHookLoraModelOnly:
    """Makes a hook of a LoRA file that leaves the text model alone."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Create Hook LoRA (MO)"
    CATEGORY = CREATE
    RETURN_TYPES = ("HOOKS",)
    FUNCTION = "create_hook_model_only"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {"lora_name": files("loras"), "strength_model": STRENGTH},
            "optional": {"prev_hooks": socket("HOOKS")},
        }

    def create_hook_model_only(
        self, lora_name: str, strength_model: float, prev_hooks: HookGroup | None = None
    ) -> tuple[HookGroup]:
        """The hooks before with the LoRA's behind."""
        return CreateHookLora().create_hook(lora_name, strength_model, 0, prev_hooks)


class CreateHookModelAsLora:
    """Makes a hook of the way to another checkpoint."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Create Hook Model as LoRA"
    CATEGORY = CREATE
    RETURN_TYPES = ("HOOKS",)
    FUNCTION = "create_hook"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {"ckpt_name": files("checkpoints"), "strength_model": STRENGTH, "strength_clip": STRENGTH},
            "optional": {"prev_hooks": socket("HOOKS")},
        }

    def create_hook(
        self, ckpt_name: str, strength_model: float, strength_clip: float, prev_hooks: HookGroup | None = None
    ) -> tuple[HookGroup]:
        """The hooks before with the checkpoint's behind; at a strength of one, its weights hold.

        ModelFileError when the file is no checkpoint. Its weights stay mapped from the file.
        """
        if strength_model == 0 and strength_clip == 0:
            return (HookGroup() if prev_hooks is None else prev_hooks,)
        from executor.inference.checkpoint import load_checkpoint

        path = model_path("checkpoints", ckpt_name, "ckpt_name")
        other = load_checkpoint(path, services().memory)
        weights = other.model.named_weights(), other.clip.named_weights() if other.clip is not None else {}
        return (after(prev_hooks, create_hook_model_as_lora(*weights, strength_model, strength_clip, path)),)


class CreateHookModelAsLoraModelOnly:
    """Makes a hook of the way to another checkpoint's diffusion model."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Create Hook Model as LoRA (MO)"
    CATEGORY = CREATE
    RETURN_TYPES = ("HOOKS",)
    FUNCTION = "create_hook_model_only"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {"ckpt_name": files("checkpoints"), "strength_model": STRENGTH},
            "optional": {"prev_hooks": socket("HOOKS")},
        }

    def create_hook_model_only(
        self, ckpt_name: str, strength_model: float, prev_hooks: HookGroup | None = None
    ) -> tuple[HookGroup]:
        """The hooks before with the checkpoint's behind."""
        return CreateHookModelAsLora().create_hook(ckpt_name, strength_model, 0, prev_hooks)


class CreateHookKeyframe:
    """Adds a keyframe: from a share of the sampling on, hooks count this strongly."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Create Hook Keyframe"
    CATEGORY = SCHEDULING
    RETURN_TYPES = ("HOOK_KEYFRAMES",)
    RETURN_NAMES = ("HOOK_KF",)
    FUNCTION = "create_hook_keyframe"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {"strength_mult": STRENGTH, "start_percent": percent(0.0)},
            "optional": {"prev_hook_kf": socket("HOOK_KEYFRAMES")},
        }

    def create_hook_keyframe(
        self, strength_mult: float, start_percent: float, prev_hook_kf: HookKeyframeGroup | None = None
    ) -> tuple[HookKeyframeGroup]:
        """The keyframes before with this one among them."""
        group = HookKeyframeGroup() if prev_hook_kf is None else prev_hook_kf.clone()
        group.add(HookKeyframe(strength_mult, start_percent))
        return (group,)


class CreateHookKeyframesInterpolated:
    """Adds a row of keyframes from one strength to another."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Create Hook Keyframes Interp."
    CATEGORY = SCHEDULING
    RETURN_TYPES = ("HOOK_KEYFRAMES",)
    RETURN_NAMES = ("HOOK_KF",)
    FUNCTION = "create_hook_keyframes"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        strength = decimal(1.0, 0.0, 10.0, 0.001)
        return {
            "required": {
                "strength_start": strength,
                "strength_end": strength,
                "interpolation": choice(EASINGS),
                "start_percent": percent(0.0),
                "end_percent": percent(1.0),
                "keyframes_count": integer(5, 2, 100, step=1),
                "print_keyframes": flag(default=False),
            },
            "optional": {"prev_hook_kf": socket("HOOK_KEYFRAMES")},
        }

    def create_hook_keyframes(
        self,
        strength_start: float,
        strength_end: float,
        interpolation: str,
        start_percent: float,
        end_percent: float,
        keyframes_count: int,
        print_keyframes: bool = False,
        prev_hook_kf: HookKeyframeGroup | None = None,
    ) -> tuple[HookKeyframeGroup]:
        """The keyframes before with these among them, evenly spread, both ends included."""
        strengths = interpolated(strength_start, strength_end, keyframes_count, interpolation)
        return (with_row(prev_hook_kf, strengths, start_percent, end_percent, told=print_keyframes),)


class CreateHookKeyframesFromFloats:
    """Adds a keyframe for each of some numbers."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Create Hook Keyframes From Floats"
    CATEGORY = SCHEDULING
    RETURN_TYPES = ("HOOK_KEYFRAMES",)
    RETURN_NAMES = ("HOOK_KF",)
    FUNCTION = "create_hook_keyframes"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "floats_strength": ("FLOATS", {"default": -1, "min": -1, "step": 0.001, "forceInput": True}),
                "start_percent": percent(0.0),
                "end_percent": percent(1.0),
                "print_keyframes": flag(default=False),
            },
            "optional": {"prev_hook_kf": socket("HOOK_KEYFRAMES")},
        }

    def create_hook_keyframes(
        self,
        floats_strength: float | Iterable[float],
        start_percent: float,
        end_percent: float,
        print_keyframes: bool = False,
        prev_hook_kf: HookKeyframeGroup | None = None,
    ) -> tuple[HookKeyframeGroup]:
        """The keyframes before with these among them, evenly spread; one number is one keyframe at the start.

        ValueError when what is given is neither a number nor a list of numbers.
        """
        given = floats_strength if isinstance(floats_strength, Iterable) else [floats_strength]
        try:
            strengths = [float(each) for each in given]
        except (TypeError, ValueError):
            kind = type(floats_strength).__name__
            raise ValueError(f"input 'floats_strength': numbers are expected, not {kind}") from None
        return (with_row(prev_hook_kf, strengths, start_percent, end_percent, told=print_keyframes),)


class SetHookKeyframes:
    """Gives hooks their keyframes."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Set Hook Keyframes"
    CATEGORY = SCHEDULING
    RETURN_TYPES = ("HOOKS",)
    FUNCTION = "set_hook_keyframes"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"hooks": socket("HOOKS")}, "optional": {"hook_kf": socket("HOOK_KEYFRAMES")}}

    def set_hook_keyframes(self, hooks: HookGroup, hook_kf: HookKeyframeGroup | None = None) -> tuple[HookGroup]:
        """The same hooks at the strengths of these keyframes; without any, as they are."""
        if hook_kf is None:
            return (hooks,)
        group = hooks.clone()
        group.set_keyframes_on_hooks(hook_kf)
        return (group,)


class SetClipHooks:
    """Has a text model read under hooks."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Set CLIP Hooks"
    CATEGORY = "advanced/hooks/clip"
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "apply_hooks"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "clip": socket("CLIP"),
                "apply_to_conds": flag(default=True),
                "schedule_clip": flag(default=False),
            },
            "optional": {"hooks": socket("HOOKS")},
        }

    def apply_hooks(
        self, clip: Clip, schedule_clip: bool, apply_to_conds: bool, hooks: HookGroup | None = None
    ) -> tuple[Clip]:
        """A copy under these hooks.

        `apply_to_conds` has the conditioning it makes under them too; `schedule_clip` has texts read once for each
        span of their strengths, and not only at those of the start.
        """
        if hooks is None:
            return (clip,)
        changed = clip.clone()
        changed.hooks, changed.use_clip_schedule = hooks, schedule_clip
        changed.apply_hooks_to_conds = hooks if apply_to_conds else None
        return (changed,)


class CombineHooks2:
    """Puts hooks together."""

    PACK = PACK
    EXPERIMENTAL = True
    DISPLAY_NAME = "Combine Hooks [2]"
    CATEGORY = COMBINE
    RETURN_TYPES = ("HOOKS",)
    FUNCTION = "combine_hooks"
    COUNT = 2

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {}, "optional": {f"hooks_{letter}": socket("HOOKS") for letter in LETTERS[: cls.COUNT]}}

    def combine_hooks(self, **hooks: HookGroup | None) -> tuple[HookGroup]:
        """All of them in the order of the inputs, each once."""
        given = [hooks.get(f"hooks_{letter}") for letter in LETTERS[: self.COUNT]]
        return (HookGroup.combine_all_hooks(given) or HookGroup(),)


class CombineHooks4(CombineHooks2):
    """Puts hooks together."""

    DISPLAY_NAME = "Combine Hooks [4]"
    COUNT = 4


class CombineHooks8(CombineHooks2):
    """Puts hooks together."""

    DISPLAY_NAME = "Combine Hooks [8]"
    COUNT = 8


NODES = (
    CreateHookLora,
    CreateHookLoraModelOnly,
    CreateHookModelAsLora,
    CreateHookModelAsLoraModelOnly,
    CreateHookKeyframe,
    CreateHookKeyframesInterpolated,
    CreateHookKeyframesFromFloats,
    SetHookKeyframes,
    CombineHooks2,
    CombineHooks4,
    CombineHooks8,
    SetClipHooks,
)
