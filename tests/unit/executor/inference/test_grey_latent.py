"""Inpainting networks see masked parts as their own autoencoder encodes grey."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor.inference.checkpoint import Checkpoint, load_checkpoint, load_diffusion_model
from executor.inference.denoising import resolved
from executor.inference.memory import Memory
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

SHAPE = torch.Size((1, 4, 8, 8))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small inpainting checkpoint."""
    sizes = TinySizes(vocabulary=9, widths=(8,), attends=(True,), text_layers=1, in_channels=9)
    return write_tiny_checkpoint(tmp_path_factory.mktemp("inpaint") / "inpaint.safetensors", sizes)


@pytest.fixture(scope="module")
def opened(file: Path) -> Checkpoint:
    """The checkpoint, opened."""
    return load_checkpoint(file, Memory(mode="cpu"))


def seen(model, samples) -> Tensor:
    """The picture that the network sees beside latents whose upper half is masked."""
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4, :] = 1.0
    text = [[torch.zeros(1, 77, 32), {}]]
    sides = resolved(model, SHAPE, {"positive": text}, {"samples": samples, "noise_mask": mask})
    beside = sides["positive"][0].extras["c_concat"]
    assert isinstance(beside, Tensor)
    return beside[:, 1:]


def test_the_masked_part_is_the_autoencoders_grey_and_the_rest_the_picture(opened: Checkpoint):
    assert opened.vae is not None
    samples = opened.vae.encode(torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1)))
    beside, scale = seen(opened.model, samples), opened.model.latent_format.scale_factor
    grey = opened.vae.encode(torch.full((1, 128, 128, 3), 0.5))[..., 6:10, 6:10].mean(dim=(-2, -1))
    torch.testing.assert_close(beside[..., 0, 0], grey * scale)
    torch.testing.assert_close(beside[..., 4:, :], samples[..., 4:, :] * scale)


def test_clones_see_the_same(opened: Checkpoint):
    samples = torch.zeros(SHAPE)
    assert torch.equal(seen(opened.model.clone(), samples), seen(opened.model, samples))
    assert seen(opened.model, samples).any()


def test_a_network_without_an_autoencoder_sees_what_previews_show_as_grey(file: Path):
    model = load_diffusion_model(file, Memory(mode="cpu"))
    assert torch.equal(seen(model, torch.zeros(SHAPE)), model.latent_format.grey().expand(SHAPE))
