"""Files that hold a VAE alone, under a checkpoint's prefix or none, in the original names or diffusers'."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.detect import describe
from executor.inference.families.ldm_vae import read_vae_shape, vae_key
from executor.inference.memory import Part
from executor.inference.vae_model import ImageAutoencoder
from executor.inference.video_autoencoder import autoencoder
from executor.inference.wan_vae import WanVae
from executor.inference.wan_vae_file import build_wan_vae, wan_vae_prefix
from executor.inference.weights import WeightFile

WRAPPERS = ("first_stage_model.", "vae.", "")
SCALED_BY_CHANNEL = "bn.running_mean"  # Flux.2's: its latents are not those of Flux.1
FITS = "a VAE of Stable Diffusion's, Flux.1's or Wan's kind fits here"
UNKNOWN = "is a VAE of a kind that is not supported yet"
SIDES = ("encoder.", "decoder.")
THEIRS = re.compile(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.+)")
THEIR_MIDDLE = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")
THEIR_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "query": "q",
    "key": "k",
    "value": "v",
    "proj_attn": "proj_out",
}


def build_vae(file: WeightFile) -> Part[ImageAutoencoder] | Part[WanVae]:
    """The autoencoder of a file, under a checkpoint's prefix or none, in the original names or diffusers'.

    One of videos is found in the original names only.
    Raises ModelFileError when there is none, or one of another kind.
    """
    of_videos = wan_vae_prefix(file.tensors, WRAPPERS)
    if of_videos is not None:
        return build_wan_vae(file, of_videos)
    prefix = next((prefix for prefix in WRAPPERS if f"{prefix}decoder.conv_in.weight" in file.tensors), None)
    if prefix is None:
        raise ModelFileError(file.path, f"looks like {describe(file.tensors)[0]}", FITS)
    inside = {name[len(prefix) :]: tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
    originals = {name: original_name(name, inside) for name in inside}
    renamed = {originals[name]: tensor for name, tensor in inside.items()}
    if renamed["decoder.conv_in.weight"].ndim != 4 or SCALED_BY_CHANNEL in renamed:
        raise ModelFileError(file.path, UNKNOWN, FITS)
    try:
        shape = read_vae_shape(renamed)
    except KeyError as error:
        raise ModelFileError(file.path, f"its VAE lacks {error.args[0]}") from error
    keys = {prefix + name: key for name, original in originals.items() if (key := vae_key(original, shape))}
    unknown = [name for name in inside if prefix + name not in keys and name.startswith(SIDES)]
    if not shape.quantized and not shape.video and unknown:
        raise ModelFileError(file.path, f"{UNKNOWN} (it has {unknown[0]})", FITS)
    return build_part(file, "VAE", "vae", lambda: autoencoder(shape), keys)


def original_name(name: str, tensors: Mapping[str, Tensor]) -> str:
    """The original name of a tensor that diffusers names; itself for an original one."""
    if found := THEIRS.fullmatch(name):
        side, way, level, kind, place, rest = found.groups()
        if way == "up":  # diffusers counts the decoder's levels from the inside
            levels = {key.split(".")[2] for key in tensors if key.startswith(f"{side}.up_blocks.")}
            level = str(len(levels) - 1 - int(level))
        if kind == "resnets":
            return f"{side}.{way}.{level}.block.{place}.{rest.replace('conv_shortcut', 'nin_shortcut')}"
        return f"{side}.{way}.{level}.{kind.removesuffix('ers')}e.{rest}"
    if found := THEIR_MIDDLE.fullmatch(name):
        side, kind, place, rest = found.groups()
        if kind == "resnets":
            return f"{side}.mid.block_{int(place) + 1}.{rest}"
        part, _, weight = rest.rpartition(".")
        return f"{side}.mid.attn_1.{THEIR_ATTENTION.get(part, part)}.{weight}"
    return name.replace("conv_norm_out", "norm_out")
