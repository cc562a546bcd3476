"""Text to picture with a full-size SDXL file by diffusers' and transformers' modules alone. No product code.

Weights stay mapped from the file in half precision; each layer turns its own into float32 while it computes, so that
the whole takes a few gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

CLIP_L, CLIP_G = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
LATENT_SCALE = 0.13025
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
ATTENDS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}


def in_float32(module: nn.Module) -> nn.Module:
    """A module whose leaves hold half-precision weights and compute in float32."""

    def widen(leaf: nn.Module, *ignored: object) -> None:
        for name, weight in list(leaf.named_parameters(recurse=False)):
            leaf.register_parameter(name, nn.Parameter(weight.float(), requires_grad=False))

    def narrow_again(kept: dict[str, nn.Parameter]) -> Callable[..., None]:
        def narrow(leaf: nn.Module, *ignored: object) -> None:
            for name, weight in kept.items():
                leaf.register_parameter(name, weight)

        return narrow

    for leaf in module.modules():
        if kept := dict(leaf.named_parameters(recurse=False)):
            leaf.register_forward_pre_hook(widen)
            leaf.register_forward_hook(narrow_again(kept))
    return module.eval()


def filled(make: Callable[[], nn.Module], tensors: dict[str, Tensor]) -> nn.Module:
    """A module with exactly these tensors, which stay where they are."""
    with torch.device("meta"):
        module = make()
    left = module.load_state_dict(tensors, strict=False, assign=True)
    assert not left.missing_keys, left
    assert all("position_ids" in key for key in left.unexpected_keys), left
    return in_float32(module)


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Sdxl:
    """SDXL's parts as other people's modules."""

    def __init__(self, path: Path) -> None:
        self.tensors = load_file(path)

    def text(self, ids_l: Sequence[int], ids_g: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Embedding [1, 77, 2048] and pooled vector [1, 1280] of a text's tokens."""
        with torch.no_grad():
            narrow = self._clip_l()(torch.tensor([ids_l]), output_hidden_states=True).hidden_states[-2]
            wide = self._clip_g()(torch.tensor([ids_g]), output_hidden_states=True)
        return torch.cat([narrow, wide.hidden_states[-2]], dim=-1), wide.text_embeds

    def _clip_l(self) -> nn.Module:
        from transformers import CLIPTextConfig, CLIPTextModel

        config = CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, eos_token_id=49407
        )
        found = {name.removeprefix("text_model."): t for name, t in below(self.tensors, CLIP_L).items()}
        return with_positions(filled(lambda: CLIPTextModel(config), found))

    def _clip_g(self) -> nn.Module:
        from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        config = CLIPTextConfig(
            hidden_size=1280,
            intermediate_size=5120,
            num_hidden_layers=32,
            num_attention_heads=20,
            hidden_act="gelu",
            projection_dim=1280,
            eos_token_id=49407,
        )
        model = CLIPTextModelWithProjection(config)
        converted = convert_open_clip_checkpoint(model, dict(self.tensors), prefix=CLIP_G)
        return with_positions(filled(lambda: CLIPTextModelWithProjection(config), converted))

    def noise_of(self, size: int) -> Callable[[Tensor, float, Tensor, Tensor], Tensor]:
        """The network at a picture's size: noise in latents [B, 4, h, w] at a timestep, for texts and their vectors."""
        from diffusers import UNet2DConditionModel
        from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

        def make() -> nn.Module:
            return UNet2DConditionModel(
                block_out_channels=(320, 640, 1280),
                transformer_layers_per_block=(1, 2, 10),
                attention_head_dim=(5, 10, 20),
                cross_attention_dim=2048,
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=2816,
                **ATTENDS,
            )

        with torch.device("meta"):
            config = dict(make().config)
        unet = filled(make, convert_ldm_unet_checkpoint(dict(self.tensors), config))
        ids = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32)

        def noise(x: Tensor, timestep: float, text: Tensor, pooled: Tensor) -> Tensor:
            beside = {"text_embeds": pooled, "time_ids": ids.expand(len(x), -1)}
            with torch.no_grad():
                found: Tensor = unet(x, torch.tensor([timestep]), text, added_cond_kwargs=beside).sample
            return found

        return noise

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures [B, H, W, 3] in 0..1 of latents in the file's scale."""
        from diffusers import AutoencoderKL
        from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

        config: dict[str, Any] = {
            "block_out_channels": (128, 256, 512, 512),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
        }
        with torch.device("meta"):
            full = dict(AutoencoderKL(**config).config)
        vae = filled(lambda: AutoencoderKL(**config), convert_ldm_vae_checkpoint(dict(self.tensors), full))
        with torch.no_grad():
            picture: Tensor = vae.decode(latent).sample
        return (picture / 2 + 0.5).clamp(0, 1).movedim(1, -1)


def with_positions(model: nn.Module) -> nn.Module:
    """A text model whose numbers of places, which no file holds, are there."""
    for module in model.modules():
        if "position_ids" in dict(module.named_buffers(recurse=False)):
            module.register_buffer("position_ids", torch.arange(77)[None], persistent=False)
    return model


def euler(
    noise_of: Callable[[Tensor, float, Tensor, Tensor], Tensor],
    start: Tensor,
    texts: tuple[Tensor, Tensor],
    pooled: tuple[Tensor, Tensor],
    steps: int,
    cfg: float,
) -> Tensor:
    """Euler's method over evenly spread timesteps from pure noise `start`: latents in the file's scale.

    `steps` - 1 divides 999, so that all are whole; `texts` and `pooled` are the positive and the negative one's.
    """
    kept = (1 - BETAS).cumprod(0)
    timesteps = [999 * (steps - 1 - step) // (steps - 1) for step in range(steps)]
    sigmas = [*(((1 - kept) / kept) ** 0.5)[timesteps].tolist(), 0.0]
    x = start * (1 + sigmas[0] ** 2) ** 0.5
    context, vector = torch.cat(texts), torch.cat(pooled)
    for timestep, sigma, following in zip(timesteps, sigmas, sigmas[1:], strict=False):
        scaled = x / (sigma**2 + 1) ** 0.5
        positive, negative = noise_of(scaled.repeat(2, 1, 1, 1), timestep, context, vector).chunk(2)
        x = x + (negative + cfg * (positive - negative)) * (following - sigma)
    return x / LATENT_SCALE
