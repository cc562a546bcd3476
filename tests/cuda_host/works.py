"""Small work of each family on a device: a sampling, a text, decoded pictures. No tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from executor.inference.checkpoint import load_checkpoint, load_diffusion_model
from executor.inference.handle import ModelHandle
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.text.loading import load_text_encoder
from executor.inference.vae import load_vae
from tests.tiny_checkpoint import write_tiny_checkpoint
from tests.tiny_flux import TINY_FLUX, write_flux
from tests.tiny_sd3 import TinyMMDiT, network_tensors
from tests.tiny_texts import write_encoders
from tests.tiny_umt5 import write_umt5
from tests.tiny_wan import TINY_WAN, write_wan
from tests.tiny_wan_vae import write_wan_vae

EIGHT = torch.float8_e4m3fn
Work = Callable[[], Any]


def sampled(model: ModelHandle, latent: Tensor, width: int, **options: object) -> Tensor:
    """Latents of five guided steps; the sides' texts have the width of the network's."""
    sides = [[[torch.ones(1, 7, width), options]] for _ in range(2)]
    settings: Any = {"seed": 5, "steps": 5, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
    return sample(model, {"samples": latent}, positive=sides[0], negative=sides[1], **settings)


def in_eight_bits(path: Path) -> Path:
    """A file whose matrices have 8 bits and a scale."""
    tensors = load_file(path)
    for name, tensor in list(tensors.items()):
        if tensor.ndim == 2 and name.endswith(".weight") and "relative" not in name and "embed" not in name:
            scale = tensor.float().abs().max() / 448
            tensors |= {name: (tensor.float() / scale).to(EIGHT), name.replace(".weight", ".scale_weight"): scale}
    made = path.with_stem(path.stem + "_eight")
    save_file(tensors, made)
    return made


def checkpoint_work(folder: Path, memory: Memory) -> Work:
    """Text, sampling and picture of a small SD1.5."""
    found = load_checkpoint(write_tiny_checkpoint(folder / "sd15.safetensors"), memory)

    def work() -> Tensor:
        sides = {"positive": found.clip.encode("a cat"), "negative": found.clip.encode("")}
        settings: Any = {"seed": 5, "steps": 5, "cfg": 2.0, "sampler_name": "euler", "scheduler": "karras"}
        return found.vae.decode(sample(found.model, {"samples": torch.zeros(1, 4, 16, 16)}, **sides, **settings))

    return work


def flux_work(folder: Path, memory: Memory) -> Work:
    """A sampling of Flux with a further picture."""
    path = write_flux(folder / "flux.safetensors", torch.bfloat16, width=128, heads=2, inner=256)
    model = load_diffusion_model(path, memory)
    options = {"pooled_output": torch.ones(1, TINY_FLUX.vector), "reference_latents": [torch.ones(1, 16, 6, 4)]}
    return lambda: sampled(model, torch.zeros(2, 16, 15, 12), TINY_FLUX.context, **options)


def flux_eight_work(folder: Path, memory: Memory) -> Work:
    """A sampling of Flux by products of 8-bit numbers."""
    path = write_flux(folder / "flux8.safetensors", torch.bfloat16, width=128, heads=2, inner=256)
    model = load_diffusion_model(path, memory, weight_dtype="fp8_e4m3fn_fast")
    options = {"pooled_output": torch.ones(1, TINY_FLUX.vector)}
    return lambda: sampled(model, torch.zeros(2, 16, 15, 12), TINY_FLUX.context, **options)


def sd3_work(folder: Path, memory: Memory) -> Work:
    """A sampling of Stable Diffusion 3."""
    path, sizes = folder / "sd3.safetensors", TinyMMDiT(normed=True, dual=(0,))
    save_file(network_tensors(sizes, torch.float16), path)
    model = load_diffusion_model(path, memory)
    options = {"pooled_output": torch.ones(1, sizes.vector)}
    return lambda: sampled(model, torch.zeros(2, 16, 14, 12), sizes.context, **options)


def wan_work(folder: Path, memory: Memory) -> Work:
    """A sampling of Wan, and its pictures."""
    model = load_diffusion_model(write_wan(folder / "wan.safetensors", torch.float16), memory)
    vae = load_vae(write_wan_vae(folder / "wan_vae.safetensors"), memory)
    return lambda: vae.decode(sampled(model, torch.zeros(1, 16, 3, 6, 4), TINY_WAN.context))


def t5_work(folder: Path, memory: Memory) -> Work:
    """A text read by CLIP and by T5 in 8 bits with scales."""
    paths = write_encoders(folder)
    clip = load_text_encoder([paths["clip_l"], in_eight_bits(paths["t5xxl"])], "flux", memory)
    return lambda: clip.encode("a (red:1.3) circle, " * 9)


def umt5_work(folder: Path, memory: Memory) -> Work:
    """A text read by UMT5 in 8 bits with scales."""
    clip = load_text_encoder([in_eight_bits(write_umt5(folder / "umt5.safetensors"))], "wan", memory)
    return lambda: clip.encode("a cat runs")


WORKS = {
    "sd15": checkpoint_work,
    "flux": flux_work,
    "flux in 8 bits": flux_eight_work,
    "sd3": sd3_work,
    "wan": wan_work,
    "t5": t5_work,
    "umt5": umt5_work,
}
RECORDED = ("sd15", "flux", "flux in 8 bits", "sd3", "wan")
