"""Folders in diffusers' layout: a file per part. Knows which file holds which part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from executor.errors import ModelFileError
from executor.inference.checkpoint import Checkpoint, load_diffusion_model
from executor.inference.grey_latent import show_grey
from executor.inference.memory import Memory
from executor.inference.text.loading import load_text_encoder
from executor.inference.vae import load_vae

# the names of a part's file, the first that is there counts
NETWORK = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
)
TEXT_PARTS = ("text_encoder", "text_encoder_2")
TEXT = ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin")


def load_folder(folder: Path, memory: Memory, *, embedding_folders: Sequence[Path] = ()) -> Checkpoint:
    """The model, text encoder and VAE of a folder.

    Raises ModelFileError when a part is missing, broken, or of a family that is not known.
    """
    encoders = [part for part in TEXT_PARTS if (folder / part).is_dir()] or [TEXT_PARTS[0]]
    model = load_diffusion_model(part_file(folder, "unet", NETWORK), memory)
    vae = load_vae(part_file(folder, "vae", NETWORK), memory)
    show_grey(model.model, vae)
    return Checkpoint(
        model=model,
        clip=load_text_encoder(
            [part_file(folder, part, TEXT) for part in encoders],
            "sdxl" if len(encoders) > 1 else "stable_diffusion",
            memory,
            embedding_folders=embedding_folders,
        ),
        vae=vae,
    )


def part_file(folder: Path, part: str, names: Sequence[str]) -> Path:
    """The file of a part, or the first of those that it was saved as; ModelFileError when there is none."""
    for name in names:
        if (path := folder / part / name).is_file():
            return path
        if pieces := sorted(path.parent.glob(f"{path.stem}-00001-of-*{path.suffix}")):
            return pieces[0]
    raise ModelFileError(folder, f"has no {part}/{names[0]}", "a folder that diffusers saved a model into fits here")
