"""Nodes that load model files. Know where a file lies, not what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.builtin.inputs import InputTypes, files
from nodes.builtin.services import model_path, services

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.text.clip import Clip
    from executor.inference.vae import Vae


class CheckpointLoaderSimple:
    """Loads diffusion model, text model and VAE from one file."""

    DISPLAY_NAME = "Load Checkpoint"
    CATEGORY = "loaders"
    DESCRIPTION = "Loads a checkpoint: the diffusion model that draws, and the text model and VAE that came with it."
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    OUTPUT_TOOLTIPS = (
        "The diffusion model, which takes noise out of latents.",
        "The text model, which reads prompts.",
        "The VAE, which turns pictures into latents and back.",
    )
    FUNCTION = "load_checkpoint"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"ckpt_name": files("checkpoints", tooltip="The file to load.")}}

    def load_checkpoint(self, ckpt_name: str) -> tuple[ModelHandle, Clip | None, Vae | None]:
        """Load a checkpoint; ModelFileError when the file is missing or no checkpoint that can be loaded."""
        from executor.inference.checkpoint import load_checkpoint

        path = model_path("checkpoints", ckpt_name, "ckpt_name")
        here = services()
        checkpoint = load_checkpoint(path, here.memory, embedding_folders=here.folders.paths("embeddings"))
        return checkpoint.model, checkpoint.clip, checkpoint.vae


NODES = (CheckpointLoaderSimple,)
