"""Whole samplings of Stable Diffusion 3 against a loop of our own writing over diffusers' network."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.checkpoint import diffusion_model_of
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.weights import WeightFile
from nodes.builtin.model_sampling import ModelSamplingSD3
from tests.maths.test_mmdit import theirs
from tests.tiny_sd3 import TinyMMDiT, network_tensors

TOLERANCE = 2e-5  # of eight calls
SIZES = {"3 medium": TinyMMDiT(), "3.5 medium": TinyMMDiT(normed=True, dual=(0,))}
STEPS, SEED, CFG = 4, 5, 3.5
SCALE, SHIFT = 1.5305, 0.0609  # numeric/tables.json, latent_formats


def conditioning(seed: int) -> list[list[object]]:
    """Random text."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(1, 11, 96, generator=generator)
    return [[text, {"pooled_output": torch.randn(1, 80, generator=generator)}]]


def by_hand(sizes: TinyMMDiT, noise: Tensor, start: Tensor | None, times: list[float], shift: float = 3.0) -> Tensor:
    """Euler's method on the straight path from noise to picture, guided, in the autoencoder's scale."""
    network = theirs(sizes)
    sigmas = [shift * time / (1 + (shift - 1) * time) for time in (*times, 0.0)]
    x = noise if start is None else sigmas[0] * noise + (1 - sigmas[0]) * (start - SHIFT) * SCALE
    sides = [conditioning(1)[0], conditioning(2)[0]]
    for sigma, following in pairwise(sigmas):
        time = torch.full((len(x),), sigma * 1000)
        positive, negative = (
            network(x, text.expand(len(x), -1, -1), more["pooled_output"].expand(len(x), -1), time, return_dict=False)[
                0
            ]
            for text, more in sides
        )
        x = x + (negative + CFG * (positive - negative)) * (following - sigma)
    return x / SCALE + SHIFT


def ours(sizes: TinyMMDiT, latent: Tensor, denoise: float = 1.0, shift: float | None = None) -> Tensor:
    """The same by KSampler's way."""
    file = WeightFile(path=Path("sd3.safetensors"), tensors=network_tensors(sizes))
    model = diffusion_model_of(file, Memory(mode="cpu"))
    if shift is not None:
        [model] = ModelSamplingSD3().patch(model, shift)
    settings = {"steps": STEPS, "cfg": CFG, "sampler_name": "euler", "scheduler": "simple", "denoise": denoise}
    given = {"samples": latent}
    return sample(model, given, positive=conditioning(1), negative=conditioning(2), seed=SEED, **settings)


def noise(like: Tensor) -> Tensor:
    """What a seed draws."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(SEED))


def close(found: Tensor, wanted: Tensor) -> bool:
    """Whether two pictures are the same but for rounding."""
    return ((found - wanted).abs().max() / wanted.abs().max()).item() < TOLERANCE


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_picture_from_noise_is_that_of_the_loop(sizes):
    empty = torch.zeros(2, 16, 8, 12)
    assert close(ours(sizes, empty), by_hand(sizes, noise(empty), None, [1.0, 0.75, 0.5, 0.25]))


def test_a_picture_redrawn_in_part_is_that_of_the_loop():
    sizes = SIZES["3 medium"]
    latent = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(9))
    found = ours(sizes, latent, denoise=0.5)  # the last four of eight steps
    assert close(found, by_hand(sizes, noise(latent), latent, [0.5, 0.375, 0.25, 0.125]))


def test_model_sampling_sd3_shifts_the_levels():
    sizes = SIZES["3 medium"]
    empty = torch.zeros(1, 16, 8, 8)
    wanted = by_hand(sizes, noise(empty), None, [1.0, 0.75, 0.5, 0.25], shift=6.0)
    assert close(ours(sizes, empty, shift=6.0), wanted)


def test_a_file_in_diffusers_names_is_the_same_network():
    sizes = SIZES["3.5 medium"]
    tensors = {name: tensor.contiguous() for name, tensor in theirs(sizes).state_dict().items()}
    model = diffusion_model_of(WeightFile(path=Path("transformer.safetensors"), tensors=tensors), Memory(mode="cpu"))
    found, wanted = model.model.part.weights, network_tensors(sizes)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_file_in_diffusers_names_that_lacks_a_part_is_refused():
    tensors = dict(theirs(SIZES["3 medium"]).state_dict())
    del tensors["transformer_blocks.0.attn.to_k.weight"]
    file = WeightFile(path=Path("transformer.safetensors"), tensors=tensors)
    with pytest.raises(ModelFileError, match=r"has joint_blocks\.0\.x_block\.attn\.qkv\.weight of shape \(256, 128\)"):
        diffusion_model_of(file, Memory(mode="cpu"))
