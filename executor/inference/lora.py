"""LoRA files: which layers they change and how. Knows neither folders nor nodes.

Reads LoRA and LoCon (Hu et al. 2021, arXiv:2106.09685), LoHa, LoKr, DoRA, GLoRA, OFT and BOFT (papers: adapters.py) and
whole differences, under the names of kohya, diffusers, OneTrainer, LyCORIS and XLabs.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from executor import context
from executor.errors import ModelFileError
from executor.inference.adapters import (
    Adapter,
    Difference,
    Factored,
    Generalised,
    Hadamard,
    Kronecker,
    LowRank,
    Replacement,
    Rotation,
)
from executor.inference.detect import describe
from executor.inference.diffusion import PREFIX as DIFFUSION
from executor.inference.lora_keys import (
    DIFFUSION_PREFIXES,
    TEXT_PREFIXES,
    diffusion_layers,
    layer_named,
    text_layers,
    text_prefixes,
)
from executor.inference.network import DiffusionNetwork, LayerPlace
from executor.inference.patching import PatchKey
from executor.inference.weights import WeightFile

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.text.clip import Clip

logger = logging.getLogger("weft.inference")
Parts = dict[str, Tensor]
SHOWN = 3
FITS = "a LoRA file fits here"

# a name's ending → which part of a layer's change it is; the longest first where one ends with another
ENDINGS: tuple[tuple[str, str], ...] = (
    (".lora_linear_layer.up.weight", "up"),
    (".lora_linear_layer.down.weight", "down"),
    (".lora_A.default.weight", "down"),
    (".lora_B.default.weight", "up"),
    (".lora_magnitude_vector.weight", "lengths"),
    (".lora_magnitude_vector", "lengths"),
    (".lora_up.weight", "up"),
    (".lora_down.weight", "down"),
    (".lora_mid.weight", "mid"),
    (".lora.up.weight", "up"),
    (".lora.down.weight", "down"),
    ("_lora.up.weight", "up"),
    ("_lora.down.weight", "down"),
    (".lora_A.weight", "down"),
    (".lora_B.weight", "up"),
    (".up.weight", "up"),
    (".down.weight", "down"),
    (".lora_B.bias", "diff_b"),
    (".lora_A", "down"),
    (".lora_B", "up"),
    (".dora_scale", "dora_scale"),
    (".alpha", "alpha"),
    (".set_weight", "set"),
    (".diff_b", "diff_b"),
    (".diff", "diff"),
    (".scale", "set_scale"),
    (".w_norm", "diff"),
    (".b_norm", "diff_b"),
    *((f".hada_{part}", f"hada_{part}") for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    *((f".{part}.weight", f"glora_{part}") for part in ("a1", "a2", "b1", "b2", "bm")),
    (".oft_blocks", "oft_blocks"),
    (".rescale", "rescale"),
    *((f".lokr_{part}", f"lokr_{part}") for part in ("w1_a", "w1_b", "w2_a", "w2_b", "w1", "w2", "t2")),
)


def apply_lora(
    file: WeightFile, model: ModelHandle | None, clip: Clip | None, strength_model: float, strength_clip: float
) -> tuple[ModelHandle, Clip | None]:
    """Copies of a model and a text encoder with a LoRA at these strengths; either may be None and stays so.

    A LoRA of which nothing fits leaves both as they are; the log and the node say so. Raises ModelFileError when the
    file is no LoRA.
    """
    layers = read_layers(file)
    named = [(name, part) for name, part in layers.items()]
    on_model = {} if model is None else model_patches(named, model)
    on_clip = {} if clip is None else text_patches(named, clip)
    used = {name for name, _ in (*on_model.values(), *on_clip.values())}
    if not used and not (clip is None and is_for_text_only(layers)):
        tell_unfit(file, layers, "text model" if model is None else f"{model.family} model")
        return model, clip  # type: ignore[return-value]  # a model that is None stays None
    left = [name for name in layers if name not in used]
    if left and clip is not None:
        logger.warning("%s: %d of %d layers fit nothing, such as %s", file.path.name, len(left), len(layers), left[0])
    changed_model, changed_clip = model, clip
    if model is not None and on_model:
        changed_model = model.clone()
        changed_model.add_patches({key: adapter for key, (_, adapter) in on_model.items()}, strength_model)
    if clip is not None and on_clip:
        changed_clip = clip.clone()
        changed_clip.add_patches({key: adapter for key, (_, adapter) in on_clip.items()}, strength_clip)
    return changed_model, changed_clip  # type: ignore[return-value]  # a model that is None stays None


def tell_unfit(file: WeightFile, layers: Mapping[str, Parts], what: str) -> None:
    """Say in the log and at the running node that a LoRA changes nothing."""
    shown = ", ".join(list(layers)[:SHOWN])
    tell(f"{file.path.name}: none of its {len(layers)} layers fits this {what} (it has {shown}): nothing changes")


def tell(message: str) -> None:
    """Say something in the log and at the running node."""
    logger.warning("%s", message)
    here = context.current()
    here.sink.text(here.node_id, message)


def is_for_text_only(layers: Mapping[str, Parts]) -> bool:
    """Whether every layer is named as a text encoder's."""
    return all(name.startswith(TEXT_PREFIXES) for name in layers)


def read_layers(file: WeightFile) -> dict[str, Parts]:
    """The layers that a file changes: name → parts.

    Raises ModelFileError when the file is no LoRA.
    """
    layers: dict[str, Parts] = defaultdict(dict)
    for name, tensor in file.tensors.items():
        for ending, part in ENDINGS:
            if name.endswith(ending):
                layers[name[: -len(ending)]][part] = tensor
                break
    changing = {name: parts for name, parts in layers.items() if parts.keys() - {"alpha"}}
    if not any(parts.keys() - {"alpha", "set_scale"} for parts in changing.values()):
        raise ModelFileError(file.path, f"looks like {describe(file.tensors)[0]}", FITS)
    return changing


def model_patches(layers: Sequence[tuple[str, Parts]], model: ModelHandle) -> dict[PatchKey, tuple[str, Adapter]]:
    """What a file changes of a diffusion model: weight's name → (name in the file, change)."""
    module = model.model.part.module
    if not isinstance(module, DiffusionNetwork):
        return {}
    table = diffusion_layers(module, model.model.part.weights)
    named = placed(layers, DIFFUSION_PREFIXES, table, lambda key: DIFFUSION + key, model.model.part.weights)
    growing = {f"{DIFFUSION}{layer}.weight" for layer in module.growing}
    return {
        key: (name, replace(adapter, pads=True) if key in growing and isinstance(adapter, LowRank) else adapter)
        for key, (name, adapter) in named.items()
    }


def text_patches(layers: Sequence[tuple[str, Parts]], clip: Clip) -> dict[PatchKey, tuple[str, Adapter]]:
    """What a file changes of the text encoders: weight's name → (name in the file, change)."""
    found: dict[PatchKey, tuple[str, Adapter]] = {}
    for encoder in clip.encoders:
        prefixes = text_prefixes(encoder.name, alone=len(clip.encoders) == 1)
        weights = encoder.part.weights
        others = tuple(prefix for prefix in TEXT_PREFIXES if prefix not in prefixes)
        meant = [(name, parts) for name, parts in layers if not name.startswith(others)]
        found |= placed(meant, prefixes, text_layers(weights), encoder.weight_name, weights)
    return found


def placed(
    layers: Sequence[tuple[str, Parts]],
    prefixes: Sequence[str],
    table: Mapping[str, LayerPlace],
    name_of: Callable[[str], str],
    weights: Mapping[str, Tensor],
) -> dict[PatchKey, tuple[str, Adapter]]:
    """The changes of the layers that a module has, by the names that `name_of` gives its weights."""
    found: dict[PatchKey, tuple[str, Adapter]] = {}
    for name, parts in layers:
        place = layer_named(name, prefixes, table)
        if place is None:
            continue
        layer = place.layer
        adapter = adapter_for(parts)
        if adapter is not None and f"{layer}.weight" in weights:
            found[patch_key(name_of(f"{layer}.weight"), place)] = (name, adapter)
        if "diff_b" in parts and f"{layer}.bias" in weights:
            found[patch_key(name_of(f"{layer}.bias"), place)] = (name, Difference(parts["diff_b"]))
        if "set_scale" in parts and f"{layer}.scale" in weights:
            found[name_of(f"{layer}.scale")] = (name, Replacement(parts["set_scale"]))
    return found


def patch_key(name: str, place: LayerPlace) -> PatchKey:
    """What a patch of a weight, or of a part of one, is named by."""
    if place.part is None:
        return name
    return (name, place.part) if place.change is None else (name, place.part, place.change)


def adapter_for(parts: Parts) -> Adapter | None:
    """How these parts change a layer's weight; None when they do not change it."""
    if "set" in parts:
        return Replacement(parts["set"])
    alpha = float(parts["alpha"].item()) if "alpha" in parts else None
    if "oft_blocks" in parts:
        return Rotation(blocks=parts["oft_blocks"], rescale=parts.get("rescale"), bound=alpha)
    factored = factored_for(parts, alpha)
    if factored is not None:
        return factored
    return Difference(parts["diff"]) if "diff" in parts else None


def output_lengths(parts: Parts) -> Tensor | None:
    """PEFT's magnitudes of a DoRA, one for each output, which it shapes [1, out, 1, 1] for kernels."""
    lengths, up = parts.get("lengths"), parts.get("up")
    return lengths.flatten() if lengths is not None and up is not None and lengths.numel() == len(up) else lengths


def factored_for(parts: Parts, alpha: float | None) -> Factored | None:
    """The factored change that these parts are; None when some are missing."""
    magnitude = parts.get("dora_scale", output_lengths(parts))
    if all(f"glora_{part}" in parts for part in ("a1", "a2", "b1", "b2")):
        a, b = ((parts[f"glora_{side}1"], parts[f"glora_{side}2"]) for side in "ab")
        return Generalised(a=a, b=b, core=parts.get("glora_bm"), alpha=alpha, magnitude=magnitude)
    if "up" in parts and "down" in parts:
        return LowRank(up=parts["up"], down=parts["down"], core=parts.get("mid"), alpha=alpha, magnitude=magnitude)
    if all(f"hada_{part}" in parts for part in ("w1_a", "w1_b", "w2_a", "w2_b")):
        cores = (parts["hada_t1"], parts["hada_t2"]) if "hada_t1" in parts and "hada_t2" in parts else None
        left, right = ((parts[f"hada_w{n}_a"], parts[f"hada_w{n}_b"]) for n in (1, 2))
        return Hadamard(left=left, right=right, cores=cores, alpha=alpha, magnitude=magnitude)
    kronecker = [
        (parts[f"lokr_w{n}"],)
        if f"lokr_w{n}" in parts
        else tuple(parts[f"lokr_w{n}_{side}"] for side in "ab" if f"lokr_w{n}_{side}" in parts)
        for n in (1, 2)
    ]
    if all(kronecker):
        core = parts.get("lokr_t2")
        return Kronecker(left=kronecker[0], right=kronecker[1], core=core, alpha=alpha, magnitude=magnitude)
    return None
