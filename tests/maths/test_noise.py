"""Start noise, per-step noise and Brownian increments against recorded numbers."""

import pytest
import torch

from executor.inference.noise import brownian_noise, prepare_noise, step_noise
from tests.maths.recordings import cases, tensors

PREPARED = [name for name in cases("noise") if name.startswith("prepare/")]
STEP_SOURCES = [name for name in cases("noise") if name.startswith("default/")]
BROWNIAN = [name for name in cases("noise") if name.startswith("brownian/")]


@pytest.mark.parametrize("name", PREPARED)
def test_start_noise_has_the_recorded_bits(name: str) -> None:
    case, expected = cases("noise")[name], tensors("noise")[name]
    latent = torch.zeros(case["shape"], dtype=expected.dtype)
    assert torch.equal(prepare_noise(latent, int(case["seed"]), case.get("batch_index")), expected)


@pytest.mark.parametrize("name", STEP_SOURCES)
def test_step_noise_has_the_recorded_bits(name: str) -> None:
    case, expected = cases("noise")[name], tensors("noise")[name]
    source = step_noise(torch.zeros(expected.shape[1:]), int(case["seed"]))
    assert torch.equal(torch.stack([source(1.0, 0.5) for _ in range(case["draws"])]), expected)


@pytest.mark.parametrize("name", BROWNIAN)
def test_brownian_increments_are_the_recorded_ones(name: str) -> None:
    case, recorded = cases("noise")[name], tensors("noise")
    table = recorded[case["sigmas"]]
    sigmas, middles = table.tolist(), (table[:-1] * table[1:]).sqrt().tolist()
    source = brownian_noise(torch.zeros(case["shape"]), int(case["seed"]), sigmas)
    steps = list(zip(sigmas, sigmas[1:], middles, strict=False))[: len(recorded[name])]
    whole = torch.stack([source(sigma, following) for sigma, following, _ in steps])
    half = torch.stack([source(sigma, middle) for sigma, _, middle in steps])
    assert (whole - recorded[name]).abs().max() <= 1e-5
    assert (half - recorded[f"{name}/mid"]).abs().max() <= 1e-5


def test_a_brownian_path_backwards_is_the_negative() -> None:
    source = brownian_noise(torch.zeros(1, 4, 4, 4), 7, [8.0, 2.0, 0.5, 0.0])
    assert torch.equal(source(8.0, 2.0), -source(2.0, 8.0))


def test_a_negative_seed_wraps_to_64_bits() -> None:
    latent = torch.zeros(1, 4, 4, 4)
    assert torch.equal(prepare_noise(latent, -1), prepare_noise(latent, (1 << 64) - 1))
