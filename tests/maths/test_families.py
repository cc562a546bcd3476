"""Our reading of a file against an independent writing of the same networks: the training's, with original names."""

import pytest
import torch
from torch import Tensor, nn

from executor.inference.building import build_part
from executor.inference.families.ldm_unet import read_unet_shape
from executor.inference.families.ldm_vae import read_vae_shape, vae_key
from executor.inference.unet import UNet
from executor.inference.vae_model import ImageAutoencoder
from executor.inference.weights import WeightFile
from tests.maths.recordings import error
from training import unet as trained_unet
from training import vae as trained_vae

BOUND = 1e-5  # one forward, relative (reference/model_layer.md)


def filled(module: nn.Module) -> nn.Module:
    """The module with every weight random: those that start at zero would hide errors."""
    generator = torch.Generator().manual_seed(0)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    return module.requires_grad_(False).eval()


def file_of(module: nn.Module, tmp_path) -> WeightFile:
    """The module's weights as a file would hold them."""
    return WeightFile(path=tmp_path / "m.safetensors", tensors=module.state_dict())


def names(tensors: dict[str, Tensor], key_of) -> dict[str, str]:
    """The file's name → the module's name."""
    return {name: key for name in tensors if (key := key_of(name))}


@pytest.mark.parametrize(
    "size",
    [
        trained_unet.UNetSize(widths=(16, 32), attends=(False, True), context=24),
        trained_unet.UNetSize(widths=(24, 24, 48), attends=(True, True, False), context=16, heads=4),
    ],
    ids=["two levels", "three levels, four heads"],
)
def test_the_unet_answers_as_the_trained_one(size, tmp_path):
    original = filled(trained_unet.UNet(size))
    file = file_of(original, tmp_path)
    shape = read_unet_shape(file.tensors, size.heads)
    keys = names(file.tensors, lambda name: name)
    unet = build_part(file, "UNet", "diffusion", lambda: UNet(shape), keys).module
    x, timestep, context = torch.randn(2, 4, 8, 12), torch.tensor([3.0, 811.25]), torch.randn(2, 7, size.context)
    assert error(unet(x, timestep, context), original(x, timestep, context)) < BOUND


def test_the_vae_answers_as_the_trained_one(tmp_path):
    original = filled(trained_vae.VAE((4, 8, 12, 12)))
    file = file_of(original, tmp_path)
    shape = read_vae_shape(file.tensors)
    keys = names(file.tensors, lambda name: vae_key(name, shape))
    vae = build_part(file, "VAE", "vae", lambda: ImageAutoencoder(shape), keys).module
    pixels, latent = torch.rand(1, 3, 16, 24) * 2 - 1, torch.randn(1, 4, 2, 3)
    found = (
        error(vae.encode(pixels), original.encode(pixels)[:, :4]),
        error(vae.decode(latent), original.decode(latent)),
    )
    assert max(found) < BOUND
