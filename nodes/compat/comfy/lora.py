"""LoRAs under the names that packs use: names of weights, patches, weights after patches."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from comfy.seams import joined
from executor.errors import ModelFileError
from executor.inference import patching as _patching
from executor.inference.lora import adapter_for, patch_key, read_layers
from executor.inference.lora_keys import diffusion_layers, text_layers
from executor.inference.network import DiffusionNetwork
from executor.inference.weights import WeightFile

__getattr__ = joined(__name__, {"calculate_weight": _patching.calculate_weight})

log = logging.getLogger("weft.packs")

KeyMap = dict[str, object]
PREFIXES = {"l": ("lora_te_", "lora_te1_"), "g": ("lora_te2_",), "t5xxl": ("lora_te3_", "lora_te2_")}
"""What LoRAs call the layers of a text encoder, by its short name."""


def _patcher(model: object) -> object:
    """The MODEL that a network belongs to."""
    return getattr(model, "current_patcher", None) or model


def model_lora_keys_unet(model: object, key_map: KeyMap | None = None) -> KeyMap:
    """Names that LoRAs give a network's layers, and the weights they mean."""
    found: KeyMap = {} if key_map is None else key_map
    network = getattr(model, "diffusion_model", None)
    for name in model.state_dict():
        if name.startswith("diffusion_model.") and name.endswith(".weight"):
            bare = name[len("diffusion_model.") : -len(".weight")]
            found[f"lora_unet_{bare.replace('.', '_')}"] = name
            found[name[: -len(".weight")]] = name
    if isinstance(network, DiffusionNetwork):
        for name, place in diffusion_layers(network, network.state_dict()).items():
            found.setdefault(f"lora_unet_{name}", patch_key(f"diffusion_model.{place.layer}.weight", place))
    return found


def model_lora_keys_clip(model: object, key_map: KeyMap | None = None) -> KeyMap:
    """Names that LoRAs give a text encoder's layers, and the weights they mean."""
    found: KeyMap = {} if key_map is None else key_map
    for name, encoder in getattr(model, "own_encoders", {"l": model}).items():
        for layer, place in text_layers(encoder.state_dict()).items():
            label = "t5xxl.transformer" if name == "t5xxl" else f"clip_{name}.transformer.text_model"
            key = f"{label}.{place.layer}.weight"
            for prefix in PREFIXES.get(name, PREFIXES["l"]):
                found.setdefault(f"{prefix}{layer}", key)
    return found


def load_lora(
    lora: Mapping[str, Tensor], to_load: Mapping[str, object], log_missing: bool = True
) -> dict[object, object]:
    """The patches of a file's tensors, by the weights that `to_load` names; see `add_patches`."""
    patches: dict[object, object] = {}
    try:
        layers = read_layers(WeightFile(path=Path("LoRA"), tensors=lora))
    except ModelFileError as error:
        log.warning("%s", error)
        return {}
    for name, parts in layers.items():
        key = to_load.get(name)
        if key is None:
            continue
        adapter = adapter_for(parts)
        if adapter is not None:
            patches[key] = adapter
        if "diff_b" in parts and isinstance(key, str):
            patches[f"{key.removesuffix('.weight')}.bias"] = ("diff", (parts["diff_b"],))
    return patches
