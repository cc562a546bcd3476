"""The autoencoder of Flux.1 and Stable Diffusion 3 (16 channels, nothing around the latents) against diffusers'."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import nn

from executor.errors import ModelFileError
from executor.inference.memory import Memory
from executor.inference.vae import load_vae
from tests.maths.recordings import error
from tests.tiny_checkpoint import VAE, TinySizes, tiny_tensors

CPU = Memory(mode="cpu")
WIDTHS = (8, 8, 12, 16)
BOUND = 1e-5


def theirs() -> AutoencoderKL:
    """diffusers' autoencoder of these sizes, every weight random."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    quantizes = {"use_quant_conv": False, "use_post_quant_conv": False}
    module = AutoencoderKL(block_out_channels=WIDTHS, latent_channels=16, norm_num_groups=4, **blocks, **quantizes)
    generator = torch.Generator().manual_seed(0)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    for norm in module.modules():
        if isinstance(norm, nn.GroupNorm):
            norm.num_groups = torch.gcd(torch.tensor(32), torch.tensor(norm.num_channels)).item()
    return module.requires_grad_(False).eval()


def test_pictures_and_latents_are_diffusers(tmp_path):
    module = theirs()
    save_file(dict(module.state_dict()), path := tmp_path / "ae.safetensors")
    vae, pixels, latents = load_vae(path, CPU), torch.rand(1, 24, 16, 3), torch.randn(2, 16, 3, 2)
    with torch.no_grad():
        inside = module.encode(pixels.movedim(-1, 1) * 2 - 1).latent_dist.mean
        pictures = (module.decode(latents).sample * 0.5 + 0.5).clamp(0, 1)
    assert vae.latent_channels == 16
    assert error(vae.encode(pixels), inside) < BOUND
    assert error(vae.decode(latents), pictures.movedim(1, -1)) < BOUND


@pytest.mark.parametrize("prefix", ["", "vae.", "first_stage_model."])
def test_original_names_under_any_prefix_are_read(tmp_path, prefix):
    bare = original_tensors()
    save_file({prefix + name: tensor for name, tensor in bare.items()}, path := tmp_path / "ae.safetensors")
    assert load_vae(path, CPU).get_sd().keys() == bare.keys()


def test_a_network_with_more_than_such_an_autoencoder_has_is_refused(tmp_path):
    further = {"encoder.extra.weight": torch.zeros(1)}
    save_file(original_tensors() | further, path := tmp_path / "ae.safetensors")
    with pytest.raises(ModelFileError, match=r"a VAE of a kind that is not supported yet \(it has encoder\.extra"):
        load_vae(path, CPU)


def test_an_autoencoder_of_latents_scaled_by_channel_is_refused(tmp_path):
    further = {"bn.running_mean": torch.zeros(1)}
    save_file(original_tensors() | further, path := tmp_path / "ae.safetensors")
    with pytest.raises(ModelFileError, match="a VAE of a kind that is not supported yet"):
        load_vae(path, CPU)


def original_tensors() -> dict[str, torch.Tensor]:
    """A tiny autoencoder without convolutions around its latents, by the original names."""
    tensors = {name[len(VAE) :]: each for name, each in tiny_tensors(TinySizes()).items() if name.startswith(VAE)}
    return {name: each for name, each in tensors.items() if "quant_conv" not in name}
