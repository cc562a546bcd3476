"""Runs a recorded API-format workflow by the model runtime alone: no graph engine, no node classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from executor.inference.sample import sample

Inputs = Mapping[str, object]


class Workflow:
    """The nodes of one workflow; each is run once, when its answer is first asked for."""

    def __init__(self, nodes: Mapping[str, Inputs], models: Path, pictures: Path, memory: Memory) -> None:
        self.nodes, self.models, self.pictures, self.memory = nodes, models, pictures, memory
        self.answers: dict[str, tuple[object, ...]] = {}

    @classmethod
    def runs(cls, nodes: Mapping[str, Inputs]) -> bool:
        """Whether every node of a workflow, saving ones aside, can be run here."""
        kinds = {node["class_type"] for node in nodes.values()} - {"SaveImage", "SaveLatent"}
        return all(hasattr(cls, kind) for kind in kinds)

    def answer(self, link: list[object]) -> object:
        """The value at a link [node, slot]."""
        name, slot = link
        if name not in self.answers:
            node = self.nodes[name]
            run = getattr(self, node["class_type"])
            self.answers[name] = run(**{key: self.value(value) for key, value in node["inputs"].items()})
        return self.answers[name][slot]

    def value(self, value: object) -> object:
        """An input's value, links followed."""
        return self.answer(value) if isinstance(value, list) else value

    def saved(self, kind: str) -> object:
        """What the one saving node of a kind is given."""
        [inputs] = [node["inputs"] for node in self.nodes.values() if node["class_type"] == kind]
        return self.answer(inputs["images" if kind == "SaveImage" else "samples"])

    def CheckpointLoaderSimple(self, ckpt_name: str) -> tuple[object, ...]:
        """Model, text encoder and VAE."""
        found = load_checkpoint(self.models / ckpt_name, self.memory, embedding_folders=[self.models])
        return found.model, found.clip, found.vae

    def CLIPSetLastLayer(self, clip, stop_at_clip_layer: int) -> tuple[object, ...]:
        """Clip skip."""
        return (clip.clip_layer(stop_at_clip_layer),)

    def CLIPTextEncode(self, clip, text: str) -> tuple[object, ...]:
        """Conditioning."""
        return (clip.encode(text),)

    def EmptyLatentImage(self, width: int, height: int, batch_size: int) -> tuple[object, ...]:
        """Latents of zeros."""
        return ({"samples": torch.zeros(batch_size, 4, height // 8, width // 8)},)

    def LoadImage(self, image: str) -> tuple[object, ...]:
        """A picture in 0..1 and one minus its alpha."""
        picture = Image.open(self.pictures / image).convert("RGBA")
        pixels = torch.from_numpy(np.array(picture)).float()[None] / 255
        return pixels[..., :3], 1 - pixels[..., 3]

    def VAEEncode(self, pixels: Tensor, vae) -> tuple[object, ...]:
        """Latents of a picture."""
        return ({"samples": vae.encode(pixels)},)

    def SetLatentNoiseMask(self, samples: Inputs, mask: Tensor) -> tuple[object, ...]:
        """Latents with a mask."""
        return ({**samples, "noise_mask": mask[:, None]},)

    def KSampler(self, model, latent_image, **settings: object) -> tuple[object, ...]:
        """Sampled latents."""
        return ({"samples": sample(model, latent_image, **settings)},)

    def KSamplerAdvanced(self, model, latent_image, **settings: object) -> tuple[object, ...]:
        """Sampled latents of a window of the steps."""
        names = {"noise_seed": "seed", "start_at_step": "start_step", "end_at_step": "last_step"}
        settings["disable_noise"] = settings.pop("add_noise") == "disable"
        settings["force_full_denoise"] = settings.pop("return_with_leftover_noise") == "disable"
        renamed = {names.get(name, name): value for name, value in settings.items()}
        return ({"samples": sample(model, latent_image, **renamed)},)

    def VAEDecode(self, samples: Inputs, vae) -> tuple[object, ...]:
        """Pictures of latents."""
        return (vae.decode(samples["samples"]),)
