"""Checks an exported file against other people's modules: same weights bit for bit, same outputs.

Needs diffusers and transformers, which only this check and no other part of the training uses.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from training.export import CHECKPOINT, TEXT_HEADS, load
from training.text import compact_ids, compact_table
from training.tokens import LENGTH, ROWS, caption_ids
from training.train_unet import SIZE
from training.vae import WIDTHS


def regrouped(model: nn.Module) -> nn.Module:
    """The model with gcd(32, channels) groups in every group norm."""
    for module in model.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = math.gcd(32, module.num_channels)
    return model.eval()


def filled(model: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The model with exactly these weights, proven equal bit for bit."""
    left = model.load_state_dict({key: value.float() for key, value in weights.items()}, strict=False)
    assert not left.unexpected_keys, left
    assert all("position_ids" in key for key in left.missing_keys), left
    held = model.state_dict()
    assert all(torch.equal(held[key].half(), value) for key, value in weights.items())
    return model


def foreign_models(path: Path) -> tuple[nn.Module, nn.Module, nn.Module]:
    """CLIPTextModel, UNet2DConditionModel and AutoencoderKL made from the file through diffusers' own converters."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import single_file_utils as convert
    from transformers import CLIPTextConfig, CLIPTextModel

    tensors = load_file(path)
    kinds = ["CrossAttn" if attends else "" for attends in SIZE.attends]
    unet = UNet2DConditionModel(
        block_out_channels=SIZE.widths,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        layers_per_block=1,
        attention_head_dim=SIZE.heads,
        cross_attention_dim=SIZE.context,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        block_out_channels=WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
    )
    layers = len({key.split(".layers.")[1].split(".")[0] for key in tensors if ".text_model.encoder.layers." in key})
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=ROWS,
            hidden_size=SIZE.context,
            intermediate_size=SIZE.context * 4,
            num_hidden_layers=layers,
            num_attention_heads=TEXT_HEADS,
            max_position_embeddings=LENGTH,
            hidden_act="quick_gelu",
        )
    )
    found = convert.convert_ldm_clip_checkpoint(dict(tensors))
    if not any(key.startswith("text_model.") for key in text.state_dict()):
        found = {key.removeprefix("text_model."): value for key, value in found.items()}
    return (
        filled(text.eval(), found),
        filled(regrouped(unet), convert.convert_ldm_unet_checkpoint(dict(tensors), dict(unet.config))),
        filled(regrouped(vae), convert.convert_ldm_vae_checkpoint(dict(tensors), dict(vae.config))),
    )


@torch.no_grad()
def check_layout(path: Path = CHECKPOINT) -> dict[str, float]:
    """Largest differences of outputs between the project's modules and the foreign ones."""
    text, unet, vae, _ = load(path)
    other_text, other_unet, other_vae = foreign_models(path)
    caption = "a red circle on a blue background, top left"
    context = text(compact_ids([caption], compact_table()))
    other_context = other_text(torch.tensor([caption_ids(caption)])).last_hidden_state
    latent, timestep = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(0)), torch.tensor([500.25])
    picture = vae.decode(latent * 5)
    pairs = {
        "text": (context, other_context),
        "unet": (unet(latent, timestep, context), other_unet(latent, timestep, context).sample),
        "decoder": (picture, other_vae.decode(latent * 5).sample),
        "encoder": (vae.encode(picture), other_vae.encode(picture).latent_dist.parameters),
    }
    return {name: float((one - other).abs().max() / one.abs().max()) for name, (one, other) in pairs.items()}


def main() -> None:
    """Command line: prints the differences and fails where one is not tiny."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=CHECKPOINT)
    differences = check_layout(parser.parse_args().file)
    print(differences)
    assert max(differences.values()) < 1e-4


if __name__ == "__main__":
    main()
