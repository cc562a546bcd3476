"""What a file's tensors say of its network, as packs ask for it: where it lies, its sizes, its family.

Sizes are read by `executor/inference/families`; a network of another kind is named, without its sizes.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from comfy.supported_models import KNOWN
from comfy.supported_models_base import BASE
from executor.inference.families.flux import is_flux, read_flux_shape
from executor.inference.families.ldm_unet import read_unet_shape
from executor.inference.families.mmdit_file import is_mmdit, read_mmdit_shape
from executor.inference.families.qwen_image import is_qwen_image, read_qwen_image_shape
from executor.inference.families.wan import is_wan, read_wan_shape
from executor.inference.flux import flux_sizes
from executor.inference.mmdit import mmdit_sizes
from executor.inference.network_config import unet_config
from executor.inference.qwen_image import qwen_image_sizes
from executor.inference.wan import wan_sizes
from nodes.placeholders import fallback

__getattr__ = fallback(__name__)

PREFIXES = ("model.diffusion_model.", "model.model.", "net.", "model.")
MARK = ".weight"

# A part of a tensor's name that only one kind of network has, and what that kind is called.
OTHER_KINDS = (
    ("joint_blocks.", {"image_model": "sd3"}),
    ("txt_in.individual_token_refiner.", {"image_model": "hunyuan_video"}),
    ("double_blocks.0.img_attn.norm.key_norm.scale", {"image_model": "flux"}),
    ("head.modulation", {"image_model": "wan2.1"}),
    ("adaln_single.emb.timestep_embedder", {"image_model": "ltxv"}),
    ("clf.1.weight", {"stable_cascade_stage": "c"}),
    ("embedder.1.weight", {"stable_cascade_stage": "b"}),
)


def unet_prefix_from_state_dict(state_dict: Mapping[str, Tensor]) -> str:
    """What the names of the network's tensors begin with: that of PREFIXES which most have, "" where none has it."""
    counts = {prefix: sum(name.startswith(prefix) for name in state_dict) for prefix in PREFIXES}
    best = max(PREFIXES, key=lambda prefix: counts[prefix])
    return best if counts[best] else ""


def detect_unet_config(
    state_dict: Mapping[str, Tensor], key_prefix: str, metadata: object = None
) -> dict[str, object] | None:
    """Sizes of the network whose tensors' names begin with `key_prefix`; None where nothing is known of it."""
    tensors = {name[len(key_prefix) :]: each for name, each in state_dict.items() if name.startswith(key_prefix)}
    if is_flux(tensors):
        return flux_sizes(read_flux_shape(tensors))
    if is_mmdit(tensors):
        return mmdit_sizes(read_mmdit_shape(tensors))
    if is_wan(tensors):
        return wan_sizes(read_wan_shape(tensors))
    if is_qwen_image(tensors):
        return qwen_image_sizes(read_qwen_image_shape(tensors))
    for mark, found in OTHER_KINDS:
        if any(mark in name for name in tensors):
            return dict(found)
    try:
        return unet_config(read_unet_shape(tensors))
    except KeyError:
        return None


def model_config_from_unet_config(
    unet_config: Mapping[str, object] | None, state_dict: Mapping[str, Tensor] | None = None
) -> BASE | None:
    """The family of a network of these sizes, None where Weft knows none."""
    if unet_config is None:
        return None
    return next((family(unet_config) for family in KNOWN if family.matches(unet_config, state_dict)), None)


def model_config_from_unet(
    state_dict: Mapping[str, Tensor], unet_key_prefix: str, use_base_if_no_match: bool = False, metadata: object = None
) -> BASE | None:
    """The family of the network in a file; where Weft knows none, None or, if asked for, its bare sizes."""
    sizes = detect_unet_config(state_dict, unet_key_prefix, metadata)
    found = model_config_from_unet_config(sizes, state_dict)
    return BASE(sizes) if found is None and use_base_if_no_match and sizes is not None else found
