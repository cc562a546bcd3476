"""Loaders under the names that packs use, and the classes of what they load. The work is Weft's own."""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from comfy.handles import Alias
from executor.errors import ModelFileError
from executor.inference import checkpoint as _checkpoint
from executor.inference import vae as _vae
from executor.inference.text.clip import Clip
from executor.inference.vae import Vae, vae_of
from executor.inference.weights import WeightFile
from nodes import bridge
from nodes.placeholders import fallback, missing

__getattr__ = fallback(__name__)

Tensors = Mapping[str, Tensor]
log = logging.getLogger("weft.packs")


class CLIPType(enum.Enum):
    """For which kind of model a text encoder is."""

    STABLE_DIFFUSION = 1
    STABLE_CASCADE = 2
    SD3 = 3
    STABLE_AUDIO = 4
    HUNYUAN_DIT = 5
    FLUX = 6
    MOCHI = 7
    LTXV = 8
    HUNYUAN_VIDEO = 9
    PIXART = 10
    COSMOS = 11
    LUMINA2 = 12
    WAN = 13
    HIDREAM = 14
    CHROMA = 15
    ACE = 16
    OMNIGEN2 = 17
    QWEN_IMAGE = 18
    HUNYUAN_IMAGE = 19


class CLIP(metaclass=Alias):
    """A text encoder; Weft's own count as instances."""

    core = Clip

    def __init__(self, *given: object, **options: object) -> None:
        raise missing("comfy.sd.CLIP")


class VAE(metaclass=Alias):
    """An autoencoder; Weft's own count as instances, and calling this with a file's tensors makes one."""

    core = Vae

    def __new__(
        cls, sd: Tensors | None = None, device: object = None, config: object = None, dtype: torch.dtype | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Vae:  # fmt: skip
        """The VAE of these tensors; ModelFileError when they are none."""
        from executor.inference.vae_file import build_vae

        file = WeightFile(path=Path("VAE"), tensors=sd or {}, metadata=metadata or {})
        return vae_of(build_vae(file), bridge.services().memory)


def _embeddings(embedding_directory: object) -> Sequence[Path]:
    if embedding_directory is None:
        return bridge.services().folders.paths("embeddings")
    return [
        Path(each) for each in ([embedding_directory] if isinstance(embedding_directory, str) else embedding_directory)
    ]


def load_checkpoint_guess_config(
    ckpt_path: str, output_vae: bool = True, output_clip: bool = True, output_clipvision: bool = False,
    embedding_directory: object = None, output_model: bool = True, model_options: object = None,
    te_model_options: object = None,
) -> tuple[object, object, object, object]:  # fmt: skip
    """MODEL, CLIP, VAE and vision model of a file, None for what is not wanted or not there."""
    memory = bridge.services().memory
    found = _checkpoint.load_checkpoint(
        Path(ckpt_path), memory, embedding_folders=_embeddings(embedding_directory)
    )  # fmt: skip
    seeing = None
    if output_clipvision:
        from executor.inference.vision import vision_of_checkpoint

        seeing = vision_of_checkpoint(found.file, memory)
    model = found.model if output_model else None
    return model, found.clip if output_clip else None, found.vae if output_vae else None, seeing


def load_checkpoint(
    config_path: str | None = None, ckpt_path: str | None = None, output_vae: bool = True, output_clip: bool = True,
    embedding_directory: object = None, state_dict: object = None, config: object = None,
) -> tuple[object, object, object]:  # fmt: skip
    """MODEL, CLIP and VAE of a file; a configuration is not needed."""
    if ckpt_path is None:
        raise missing("comfy.sd.load_checkpoint of tensors")
    return load_checkpoint_guess_config(ckpt_path, output_vae, output_clip, embedding_directory=embedding_directory)[:3]


def load_diffusion_model(unet_path: str, model_options: Mapping[str, object] | None = None) -> object:
    """The MODEL of a file that holds nothing else."""
    kinds = {torch.float8_e4m3fn: "fp8_e4m3fn", torch.float8_e5m2: "fp8_e5m2"}
    kind = kinds.get((model_options or {}).get("dtype"), "default")
    return _checkpoint.load_diffusion_model(Path(unet_path), bridge.services().memory, weight_dtype=kind)


def load_diffusion_model_state_dict(
    sd: Mapping[str, Tensor], model_options: Mapping[str, object] | None = None, metadata: object = None
) -> object | None:
    """The MODEL of a file's tensors; None where they are of no family that Weft knows."""
    file = WeightFile(path=Path("state dict"), tensors=dict(sd))
    try:
        return _checkpoint.diffusion_model_of(file, bridge.services().memory)
    except ModelFileError as error:
        log.warning("%s", error)
        return None


def load_unet_state_dict(sd: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> object | None:
    """`load_diffusion_model_state_dict` under its old name."""
    return load_diffusion_model_state_dict(sd, {"dtype": dtype})


def load_unet(unet_path: str, dtype: torch.dtype | None = None) -> object:
    """`load_diffusion_model` under its old name."""
    return load_diffusion_model(unet_path, {"dtype": dtype})


def load_clip(
    ckpt_paths: Sequence[str], embedding_directory: object = None, clip_type: CLIPType = CLIPType.STABLE_DIFFUSION,
    model_options: Mapping[str, object] | None = None,
) -> Clip:  # fmt: skip
    """The text encoder of one or more files."""
    from executor.inference.text.loading import load_text_encoder

    on_cpu = str((model_options or {}).get("load_device", "")) == "cpu"
    paths, folders = [Path(path) for path in ckpt_paths], _embeddings(embedding_directory)
    kind = clip_type.name.lower()
    return load_text_encoder(paths, kind, bridge.services().memory, embedding_folders=folders, on_cpu=on_cpu)


def load_lora_for_models(
    model: object, clip: object, lora: Tensors, strength_model: float, strength_clip: float
) -> tuple[object, object]:
    """Copies of a MODEL and a CLIP with a LoRA's tensors at these strengths; either may be None.

    What fits neither changes nothing, and the log tells so.
    """
    from executor.inference.lora import apply_lora

    file = WeightFile(path=Path("LoRA"), tensors=lora)
    try:
        return apply_lora(file, model, clip, strength_model, strength_clip)
    except ModelFileError as error:  # packs hand over tables that they expect to fit nothing
        log.warning("%s", error)
    copies = [getattr(one, "clone", lambda: None)() for one in (model, clip)]
    return copies[0], copies[1]


def load_vae(path: str) -> Vae:
    """The VAE of a file."""
    return _vae.load_vae(Path(path), bridge.services().memory)
