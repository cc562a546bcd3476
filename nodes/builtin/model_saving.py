"""Nodes that save models, as changed, into files of the original layouts. Know no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import safetensors.torch
from torch import Tensor

from nodes.builtin.inputs import PNG_HIDDEN, InputTypes, socket, text
from nodes.builtin.picture_files import metadata_texts, output_root, write_atomically
from nodes.builtin.services import services

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.text.clip import Clip
    from executor.inference.vae import Vae

PACK = "comfy_extras.nodes_model_merging"
DIFFUSION, VAE = "model.diffusion_model.", "first_stage_model."
# what the names of a text encoder's weights start with → what its file is called by
ENCODERS = ("clip_l", "clip_g", "clip_h", "t5xxl", "umt5xxl", "qwen25_7b")


class _Saving:
    PACK = PACK
    CATEGORY = "advanced/model_merging"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True


def write(
    tensors: Mapping[str, Tensor], prefix: str, prompt: object, extra_pnginfo: Mapping[str, object] | None
) -> dict[str, object]:
    """Write a safetensors file under the next free number; UnsafePath when the prefix leaves the folder."""
    name = services().folders.next_name(prefix, output_root("output"), count=1)
    whole = {key: tensor.contiguous().cpu() for key, tensor in tensors.items()}
    path = name.folder / f"{name.stem}_{name.counter:05}_.safetensors"
    metadata = metadata_texts(prompt, extra_pnginfo) or None
    write_atomically(path, lambda file: file.write(safetensors.torch.save(whole, metadata)))
    return {}


def vae_tensors(vae: Vae) -> Iterator[tuple[str, Tensor]]:
    """A VAE's weights by the original names; attention layers are 1x1 convolutions there."""
    for name, tensor in vae.get_sd().items():
        is_kernel = ".attn_1." in name and tensor.ndim == 2
        yield name, tensor[:, :, None, None] if is_kernel else tensor


def diffusion_tensors(model: ModelHandle) -> dict[str, Tensor]:
    """A network's weights as changed by the original names, with marks of what it predicts."""
    from executor.inference.families.prediction import marks_of

    weights = {DIFFUSION + key: weight for key, weight in model.patched_weights().items()}
    return weights | marks_of(model.model_sampling)


class ModelSave(_Saving):
    """Saves a diffusion model with its LoRAs and merges."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        prefix = text(default="diffusion_models/ComfyUI")
        return {"required": {"model": socket("MODEL"), "filename_prefix": prefix}, "hidden": dict(PNG_HIDDEN)}

    def save(
        self,
        model: ModelHandle,
        filename_prefix: str,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Write the network's weights in the types of the file it came from."""
        return write(diffusion_tensors(model), filename_prefix, prompt, extra_pnginfo)


class CLIPSave(_Saving):
    """Saves text encoders with their LoRAs and merges, a file each."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        prefix = text(default="clip/ComfyUI")
        return {"required": {"clip": socket("CLIP"), "filename_prefix": prefix}, "hidden": dict(PNG_HIDDEN)}

    def save(
        self,
        clip: Clip,
        filename_prefix: str,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Write each encoder's weights in the types of the file it came from."""
        weights = clip.get_sd()
        for encoder in ENCODERS:
            start = f"{encoder}."
            own = {
                name.removeprefix(start).removeprefix("transformer."): weight
                for name, weight in weights.items()
                if name.startswith(start)
            }
            if own:
                for each in clip.encoders:
                    own |= each.beside() if each.kind.label == encoder else {}
                write(own, f"{filename_prefix}_{encoder}", prompt, extra_pnginfo)
        return {}


class VAESave(_Saving):
    """Saves a VAE."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        prefix = text(default="vae/ComfyUI_vae")
        return {"required": {"vae": socket("VAE"), "filename_prefix": prefix}, "hidden": dict(PNG_HIDDEN)}

    def save(
        self,
        vae: Vae,
        filename_prefix: str,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Write its weights in the types of the file it came from."""
        return write(dict(vae_tensors(vae)), filename_prefix, prompt, extra_pnginfo)


class CheckpointSave(_Saving):
    """Saves a diffusion model, its text encoder and VAE as one checkpoint."""

    DISPLAY_NAME = "Save Checkpoint"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "clip": socket("CLIP"),
                "vae": socket("VAE"),
                "filename_prefix": text(default="checkpoints/ComfyUI"),
            },
            "hidden": dict(PNG_HIDDEN),
        }

    def save(
        self,
        model: ModelHandle,
        clip: Clip,
        vae: Vae,
        filename_prefix: str,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Write all three; NodeInputError for text encoders of another family than the model's."""
        from executor.inference.families.saving import checkpoint_texts, checkpoint_vae

        tensors = diffusion_tensors(model) | checkpoint_texts(model.family, clip)
        prefix = checkpoint_vae(model.family)
        tensors |= {prefix + name: weight for name, weight in vae_tensors(vae)}
        return write(tensors, filename_prefix, prompt, extra_pnginfo)


NODES = (ModelSave, CLIPSave, VAESave, CheckpointSave)
