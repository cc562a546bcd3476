"""Stable Diffusion's x4 upscaler: its network against diffusers', what it is told, and a whole sampling."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from executor.inference.checkpoint import load_checkpoint
from executor.inference.extras import Situation
from executor.inference.families import families
from executor.inference.families.diffusers_unet import original_unet_names
from executor.inference.families.sd2 import SD2
from executor.inference.families.sd_x4 import SD_X4, small_picture
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.weights import WeightFile
from nodes.builtin.sd_upscale import SD_4XUpscale_Conditioning
from tests.maths.recordings import error
from tests.maths.test_families import BOUND, filled
from tests.tiny_checkpoint import UNET, VAE, TinySizes, random_tensors, unet_shapes, vae_shapes
from tests.tiny_families import CLIP_H, G_WIDTH, open_clip_shapes

SIZES = TinySizes(linear=True, context=G_WIDTH, in_channels=7, vae_widths=(4, 8, 8))


@pytest.fixture(scope="module")
def theirs():
    """diffusers' UNet of the upscaler's kind: attention to the text alone but at the innermost level."""
    from diffusers import UNet2DConditionModel

    return filled(
        UNet2DConditionModel(
            in_channels=7,
            out_channels=4,
            block_out_channels=(32, 64, 96),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            only_cross_attention=[True, True, False],
            cross_attention_dim=24,
            attention_head_dim=8,
            use_linear_projection=True,
            num_class_embeds=1000,
        )
    )


@pytest.mark.parametrize("named", ["diffusers", "original"])
def test_the_network_answers_as_diffusers(theirs, tmp_path, named):
    tensors = theirs.state_dict()
    names = original_unet_names(tensors)
    if named == "original":
        tensors, names = {names[name]: tensor for name, tensor in tensors.items()}, {n: n for n in names.values()}
    found = SD_X4.build_diffusion(WeightFile(path=tmp_path / "x4.safetensors", tensors=tensors), names)
    x, timestep, context = torch.randn(2, 7, 8, 12), torch.tensor([3.0, 811.0]), torch.randn(2, 5, 24)
    levels = torch.tensor([20, 349])
    with torch.no_grad():
        mine = found.part.module(x, timestep, context, y=levels[:, None].float())
        wanted = theirs(x, timestep, context, class_labels=levels).sample
    assert error(mine, wanted) < BOUND


@pytest.fixture(scope="module")
def tensors():
    """A small checkpoint of the family."""
    parts = {UNET: unet_shapes(SIZES), VAE: vae_shapes(SIZES), CLIP_H: open_clip_shapes(G_WIDTH)}
    return random_tensors(parts) | {f"{UNET}label_emb.weight": torch.randn(1000, 64).half()}


@pytest.fixture(scope="module")
def opened(tensors, tmp_path_factory):
    """The small checkpoint, opened."""
    path = tmp_path_factory.mktemp("x4") / "x4.safetensors"
    save_file(tensors, path)
    return load_checkpoint(path, Memory(mode="cpu"))


def test_the_family_is_told_from_others(tensors, tmp_path):
    file = WeightFile(path=tmp_path / "x4.safetensors", tensors=tensors)
    assert [family.name for family in families() if family.detect(file)] == ["sd_x4"]
    plain = {name: tensor for name, tensor in tensors.items() if "label_emb" not in name}
    plain[f"{UNET}input_blocks.0.0.weight"] = tensors[f"{UNET}input_blocks.0.0.weight"][:, :4]
    assert SD_X4.detect(WeightFile(path=file.path, tensors=plain)) is None
    assert SD2.detect(WeightFile(path=file.path, tensors=plain)) is not None


def test_its_noise_levels_are_those_of_its_training(opened):
    """Scaled linear betas from 0.0001 to 0.02, as in tables.json."""
    betas = torch.linspace(0.0001**0.5, 0.02**0.5, 1000, dtype=torch.float64) ** 2
    bars = torch.cumprod(1 - betas, dim=0)
    wanted = ((1 - bars) / bars).sqrt().float()
    torch.testing.assert_close(opened.model.model_sampling.sigmas, wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("augmentation", "level"), [(0.0, 0), (0.5, 174), (1.0, 349), (3.0, 349)])
def test_the_picture_is_noised_to_the_level_that_the_network_is_told(augmentation, level):
    from diffusers import DDPMScheduler

    [extra] = small_picture(None, SD_X4.latent_format)
    picture, shape = torch.rand(1, 3, 6, 8) * 2 - 1, torch.Size((2, 4, 6, 8))
    found = extra({"concat_image": picture, "noise_augmentation": augmentation}, Situation(shape=shape))
    assert found["y"].tolist() == [[level]]
    scheduler = DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear")
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    wanted = scheduler.add_noise(picture, noise, torch.tensor([level]))
    torch.testing.assert_close(found["c_concat"], wanted, rtol=1e-4, atol=1e-4)


def test_the_picture_is_brought_to_the_latents_size_and_is_grey_without_one():
    [extra] = small_picture(None, SD_X4.latent_format)
    here = Situation(shape=torch.Size((1, 4, 6, 8)))
    assert extra({"concat_image": torch.zeros(2, 3, 12, 16)}, here)["c_concat"].shape == (2, 3, 6, 8)
    assert float(extra({}, here)["c_concat"].abs().max()) < 0.1


def test_a_picture_is_enlarged_four_times(opened):
    picture = torch.rand(1, 12, 16, 3, generator=torch.Generator().manual_seed(4))
    positive, negative = opened.clip.encode("a hill"), opened.clip.encode("")
    drawn = []
    for image in (picture, 1.0 - picture):
        plus, minus, latent = SD_4XUpscale_Conditioning().encode(image, positive, negative, 4.0, 0.1)
        assert latent["samples"].shape == (1, 4, 12, 16)
        samples = sample(
            opened.model, latent, seed=1, steps=2, cfg=2.0, sampler_name="euler", scheduler="normal",
            positive=plus, negative=minus,
        )  # fmt: skip
        drawn.append(opened.vae.decode(samples))
    assert drawn[0].shape == (1, 48, 64, 3)
    assert not torch.allclose(*drawn)


def test_another_ratio_scales_the_picture_first():
    plain = [[torch.zeros(1, 2, 4), {}]]
    plus, _, latent = SD_4XUpscale_Conditioning().encode(torch.ones(2, 20, 32, 4), plain, plain, 2.0, 0.0)
    [[_, options]] = plus
    assert latent["samples"].shape == (2, 4, 10, 16)
    assert torch.equal(options["concat_image"], torch.ones(2, 3, 10, 16))
