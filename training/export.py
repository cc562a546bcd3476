"""Writes the trained parts as one SD1.5-layout file in half precision, and reads such a file back."""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.latents import SCALE
from training.linear_start import start_linear
from training.text import TextModel, used_rows
from training.tokens import ROWS
from training.train_unet import SIZE, STATE, part_of
from training.unet import UNet
from training.vae import VAE

CHECKPOINT = Path(__file__).parent.parent / "models/checkpoints/weft-demo.safetensors"
TEXT_HEADS = 4
UNET_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer.text_model."
TOKENS = "embeddings.token_embedding.weight"


def config() -> dict[str, dict[str, object]]:
    """What tensor shapes cannot tell, for the header's `weft.config`."""
    return {
        "unet": {"heads": SIZE.heads, "norm_groups": "gcd32", "prediction": "eps"},
        "text": {"heads": TEXT_HEADS, "activation": "quick_gelu"},
        "vae": {"norm_groups": "gcd32", "latent_scale": SCALE},
        "recommended": {
            "width": 128,
            "height": 128,
            "cfg": 2.5,
            "steps": 20,
            "sampler": "euler",
            "scheduler": "normal",
        },
    }


def text_tensors(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The text model under its file names, its used rows spread over the full table."""
    table = torch.zeros(ROWS, weights[TOKENS].shape[1])
    table[used_rows()[1:]] = weights[TOKENS][1:]
    return {TEXT_PREFIX + key: value for key, value in (weights | {TOKENS: table}).items()}


def vae_tensors(vae: VAE) -> dict[str, Tensor]:
    """The autoencoder under its file names, the latent scale folded into its 1 x 1 convolutions."""
    weights = {key: value.clone() for key, value in vae.state_dict().items()}
    for part in ("weight", "bias"):
        weights[f"quant_conv.{part}"][:4] /= SCALE
    weights["quant_conv.bias"][4:] -= 2 * math.log(SCALE)
    weights["post_quant_conv.weight"] *= SCALE
    return {VAE_PREFIX + key: value for key, value in weights.items()}


def trained_vae() -> VAE:
    """The autoencoder of the two runs' states; an encoder not trained yet stays at its linear start."""
    torch.manual_seed(0)
    vae = VAE()
    start_linear(vae.encoder)
    for part in ("decoder", "encoder"):
        path = STATE / f"{part}.pt"
        if path.exists():
            getattr(vae, part).load_state_dict(torch.load(path, weights_only=True)["mean"])
    return vae


def export(path: Path) -> None:
    """Writes the checkpoint of the states, at once or not at all."""
    mean = torch.load(STATE / "unet.pt", weights_only=True)["mean"]
    tensors = {UNET_PREFIX + key: value for key, value in part_of(mean, "unet").items()}
    tensors |= text_tensors(part_of(mean, "text")) | vae_tensors(trained_vae())
    half = {key: value.detach().half().contiguous() for key, value in sorted(tensors.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(half, part, {"weft.config": json.dumps(config()), "modelspec.title": "Weft demo", "format": "pt"})
    part.chmod(0o644)
    os.replace(part, path)


def load(path: Path) -> tuple[TextModel, UNet, VAE, int]:
    """The file's models in float32, and its number of parameters; the autoencoder takes the file's own latents."""
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    text, unet, vae = TextModel(SIZE.context), UNet(SIZE), VAE()
    weights = part_of(tensors, TEXT_PREFIX[:-1])
    rows = torch.cat([torch.zeros(1, SIZE.context), weights[TOKENS][used_rows()[1:]]])
    text.load_state_dict(weights | {TOKENS: rows})
    unet.load_state_dict(part_of(tensors, UNET_PREFIX[:-1]))
    vae.load_state_dict(part_of(tensors, VAE_PREFIX[:-1]))
    return text.eval(), unet.eval(), vae.eval(), sum(value.numel() for value in tensors.values())


def main() -> None:
    """Command line: exports the states."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    options = parser.parse_args()
    export(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
