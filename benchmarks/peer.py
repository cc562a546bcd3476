"""diffusers' own text-to-image pipeline on a single file of SD1.x's layout: what Weft is compared with on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the file's shapes say."""

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    attends: tuple[bool, ...] = (True, True, True, False)
    layers: int = 2
    heads: int = 8
    context: int = 768
    text_layers: int = 12
    text_heads: int = 12
    vae_widths: tuple[int, ...] = (128, 256, 512, 512)
    vae_layers: int = 2


SD15 = Sizes()
DEMO = Sizes(
    widths=(40, 72, 72),
    attends=(False, True, True),
    layers=1,
    heads=3,
    context=32,
    text_layers=3,
    text_heads=4,
    vae_widths=(12, 20, 40, 48),
    vae_layers=1,
)


class Peer:
    """The pipeline in float32, with what it needs to draw what Weft draws."""

    def __init__(self, path: Path, sizes: Sizes) -> None:
        from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
        from diffusers.loaders import single_file_utils as convert
        from safetensors.torch import load_file

        tensors = load_file(path)
        unet, vae = unet_of(sizes), vae_of(sizes)
        self.text = filled(text_of(sizes), text_names(convert.convert_ldm_clip_checkpoint(dict(tensors))))
        scheduler = EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        )
        self.pipeline: Any = StableDiffusionPipeline(
            vae=filled(vae, convert.convert_ldm_vae_checkpoint(dict(tensors), dict(vae.config))),
            text_encoder=None,
            tokenizer=None,
            unet=filled(unet, convert.convert_ldm_unet_checkpoint(dict(tensors), dict(unet.config))),
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        self.pipeline.set_progress_bar_config(disable=True)

    @torch.inference_mode()
    def embedded(self, ids: Sequence[int]) -> Tensor:
        """The embedding [1, 77, C] of token ids."""
        hidden: Tensor = self.text(torch.tensor([list(ids)])).last_hidden_state
        return hidden

    def draw(
        self, ids: Sequence[int], negative_ids: Sequence[int], noise: Tensor, sigmas: Sequence[float], cfg: float
    ) -> Tensor:
        """The picture [1, H, W, 3] in 0..1 of two texts, from noise [1, 4, h, w], by Euler steps over noise levels."""
        drawn = self.pipeline(
            prompt_embeds=self.embedded(ids),
            negative_prompt_embeds=self.embedded(negative_ids),
            height=noise.shape[2] * 8,
            width=noise.shape[3] * 8,
            sigmas=list(sigmas),
            guidance_scale=cfg,
            latents=noise,
            output_type="pt",
        )
        picture: Tensor = drawn.images.movedim(1, -1)
        return picture


def unet_of(sizes: Sizes) -> Any:  # noqa: ANN401  # diffusers comes without types
    """The empty network."""
    from diffusers import UNet2DConditionModel

    kinds = ["CrossAttn" if attends else "" for attends in sizes.attends]
    with torch.device("meta"):
        return UNet2DConditionModel(
            block_out_channels=sizes.widths,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            layers_per_block=sizes.layers,
            attention_head_dim=sizes.heads,
            cross_attention_dim=sizes.context,
            norm_num_groups=1,
        )


def vae_of(sizes: Sizes) -> Any:  # noqa: ANN401
    """The empty autoencoder."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL(
            block_out_channels=sizes.vae_widths,
            down_block_types=("DownEncoderBlock2D",) * len(sizes.vae_widths),
            up_block_types=("UpDecoderBlock2D",) * len(sizes.vae_widths),
            layers_per_block=sizes.vae_layers,
            norm_num_groups=1,
        )


def text_of(sizes: Sizes) -> Any:  # noqa: ANN401
    """The empty text model; its tables of positions are no weights, so it is made with memory."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        hidden_size=sizes.context,
        intermediate_size=sizes.context * 4,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text_heads,
        hidden_act="quick_gelu",
    )
    return CLIPTextModel(config)


def text_names(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """A text model's weights by the names that transformers has had since 5.6."""
    return {name.removeprefix("text_model."): weight for name, weight in found.items() if "position_ids" not in name}


def filled(module: Any, weights: dict[str, Tensor]) -> Any:  # noqa: ANN401
    """A module with these weights in float32, and as many groups in its norms as the layout has."""
    left = module.load_state_dict({name: weight.float() for name, weight in weights.items()}, strict=False, assign=True)
    assert not left.unexpected_keys, left
    assert all("position_ids" in name for name in left.missing_keys), left
    for part in module.modules():
        if isinstance(part, nn.GroupNorm):
            part.num_groups = math.gcd(32, part.num_channels)
    return module.eval().requires_grad_(False)
