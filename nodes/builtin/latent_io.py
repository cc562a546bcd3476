"""Nodes that save latents as files and load them. Know no pictures and no models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import safetensors.torch
import torch

from executor.errors import ModelFileError
from executor.inference.values import Latent
from nodes.builtin.inputs import PNG_HIDDEN, InputTypes, files, socket, text
from nodes.builtin.picture_files import Saved, metadata_texts, output_root, write_atomically
from nodes.builtin.services import check_input_file, file_hash, input_path, services

LATENT_KEY, VERSION_KEY = "latent_tensor", "latent_format_version_0"
OLD_SCALE = 0.18215  # files without the version key hold values multiplied by SD1's factor


class SaveLatent:
    """Saves latents in the output folder."""

    CATEGORY = "_for_testing"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {"samples": socket("LATENT"), "filename_prefix": text(default="latents/ComfyUI")},
            "hidden": dict(PNG_HIDDEN),
        }

    def save(
        self,
        samples: Latent,
        filename_prefix: str = "ComfyUI",
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> dict[str, dict[str, list[Saved]]]:
        """Write a safetensors file under the next free number; UnsafePath when the prefix leaves the folder."""
        name = services().folders.next_name(filename_prefix, output_root("output"), count=1)
        filename = f"{name.stem}_{name.counter:05}_.latent"
        tensors = {LATENT_KEY: samples["samples"].contiguous().cpu(), VERSION_KEY: torch.tensor([])}
        metadata = metadata_texts(prompt, extra_pnginfo) or None
        data = safetensors.torch.save(tensors, metadata)
        write_atomically(name.folder / filename, lambda file: file.write(data))
        return {"ui": {"latents": [{"filename": filename, "subfolder": name.subfolder, "type": "output"}]}}


class LoadLatent:
    """Loads latents of the input folder."""

    CATEGORY = "_for_testing"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "load"
    FILE_CHECKS: ClassVar[dict[str, str]] = {"latent": "latent"}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"latent": files("input", content=".latent")}}

    def load(self, latent: str) -> tuple[Latent]:
        """The latents as float32; ModelFileError when the file is damaged or holds none."""
        from executor.inference.weights import read_weights

        path = input_path(latent, "latent")
        tensors = read_weights(path).tensors
        if LATENT_KEY not in tensors:
            raise ModelFileError(path, "holds no latents", "a file that SaveLatent wrote fits here")
        samples = tensors[LATENT_KEY].float()
        return ({"samples": samples if VERSION_KEY in tensors else samples / OLD_SCALE},)

    @classmethod
    def IS_CHANGED(cls, latent: str) -> str:
        """The hash of the file, so that a changed file is loaded again."""
        return file_hash(input_path(latent, "latent"))

    @classmethod
    def VALIDATE_INPUTS(cls, latent: str) -> bool | str:
        """True, or what is wrong; the server answers this by itself (FILE_CHECKS)."""
        return check_input_file(latent, "latent")


NODES = (SaveLatent, LoadLatent)
