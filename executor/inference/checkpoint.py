"""Opens model files as what nodes pass on: model, text encoder, VAE. Knows no family."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.detect import describe, detect
from executor.inference.diffusion import DiffusionModel
from executor.inference.families import families as known_families
from executor.inference.families.base import Diffusion, Family
from executor.inference.families.diffusers_flux import original_flux
from executor.inference.families.diffusers_unet import original_unet_names
from executor.inference.grey_latent import show_grey
from executor.inference.handle import ModelHandle
from executor.inference.memory import Memory
from executor.inference.text.clip import Clip
from executor.inference.text.encoders import encoder_of
from executor.inference.vae import Vae, vae_of
from executor.inference.weights import WeightFile, read_weights

logger = logging.getLogger("weft.inference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What one checkpoint file holds."""

    model: ModelHandle
    clip: Clip | None  # None for models that pictures lead, and where the file lacks an encoder
    vae: Vae | None  # None where the file has none
    file: WeightFile | None = None  # where it may hold more; None for a folder


def load_checkpoint(
    path: Path,
    memory: Memory,
    *,
    embedding_folders: Sequence[Path] = (),
    families: Sequence[Family] | None = None,
) -> Checkpoint:
    """The model, text encoder and VAE of a file; weights stay mapped until they are used.

    A file without VAE or text encoder, or of a network alone, is opened as what it holds, with a warning. Raises
    ModelFileError when the file is broken or of no known family.
    """
    file = read_weights(path)
    try:
        family, detection = detect(file, known_families() if families is None else families)
    except ModelFileError:
        alone = None if any(name.startswith(PREFIXES) for name in file.tensors) else network_of(file, families)
        if alone is None:
            raise
        logger.warning("%s holds a diffusion model alone: it belongs into models/diffusion_models", path.name)
        return Checkpoint(model=model_of(*alone, memory), clip=None, vae=None, file=file)
    parts = family.build(file, detection)
    if parts.missing:
        logger.warning("%s holds no %s: outputs made of it are empty", path.name, " and no ".join(parts.missing))
    encoders = [encoder_of(kind, part, embedding_folders) for kind, part in parts.texts]
    clip = Clip(encoders=encoders, memory=memory, joining=parts.joining) if encoders else None
    model = model_of(parts.diffusion, family, memory)
    vae = None if parts.vae is None else vae_of(parts.vae, memory)
    show_grey(model.model, vae)
    return Checkpoint(model=model, clip=clip, vae=vae, file=file)


PREFIXES = ("model.diffusion_model.", "diffusion_model.")
WEIGHT_TYPES = {
    "default": None,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e4m3fn_fast": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}
"""What weights are rounded to, by the names that loaders offer."""


def load_diffusion_model(
    path: Path, memory: Memory, *, weight_dtype: str = "default", families: Sequence[Family] | None = None
) -> ModelHandle:
    """The diffusion model of a file that may hold nothing else, in the original names or diffusers'.

    Raises ModelFileError when the file is broken or of no known family.
    """
    return diffusion_model_of(read_weights(path), memory, weight_dtype=weight_dtype, families=families)


def diffusion_model_of(
    file: WeightFile, memory: Memory, *, weight_dtype: str = "default", families: Sequence[Family] | None = None
) -> ModelHandle:
    """`load_diffusion_model` of tensors that are read already."""
    found = network_of(file, families)
    if found is not None:
        if (dtype := WEIGHT_TYPES.get(weight_dtype)) is not None:
            found[0].part.round_weights(dtype)
            found[0].part.multiplies_eight_bits = weight_dtype.endswith("_fast")
        return model_of(*found, memory)
    what, _ = describe(file.tensors)
    known = ", ".join(family.name for family in families or known_families())
    raise ModelFileError(file.path, f"looks like {what}", f"diffusion models of these families fit here: {known}")


def network_of(file: WeightFile, families: Sequence[Family] | None = None) -> tuple[Diffusion, Family] | None:
    """The network of a file and its family; None where it is of none.

    Raises ModelFileError when tensors are missing or do not fit together.
    """
    file = original_flux(file)
    names = diffusion_names(file.tensors)
    for family in known_families() if families is None else families:
        if (found := family.build_diffusion(file, names)) is not None:
            return found, family
    return None


def diffusion_names(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The names of a diffusion model's tensors → the original ones without their prefix."""
    for prefix in PREFIXES:
        if any(name.startswith(prefix) for name in tensors):
            return {name: name[len(prefix) :] for name in tensors if name.startswith(prefix)}
    if any(name.startswith("down_blocks.0.resnets.") for name in tensors):
        return original_unet_names(tensors)
    return {name: name for name in tensors}


def model_of(diffusion: Diffusion, family: Family, memory: Memory) -> ModelHandle:
    """The MODEL of a network."""
    model = DiffusionModel(
        part=diffusion.part,
        sampling=diffusion.sampling,
        width=diffusion.width,
        text_cells=diffusion.text_cells,
        latent_format=diffusion.latent_format,
        extras=diffusion.extras,
    )
    return ModelHandle(model=model, family=family.name, latent_format=diffusion.latent_format, memory=memory)
