"""Kinds of hooks that packs name. Hooks on weights and conditions by time are stand-ins."""

import enum

from nodes.placeholders import fallback

__getattr__ = fallback(__name__)


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
