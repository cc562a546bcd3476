"""Rules of noise beyond the recorded numbers."""

import torch

from executor.inference.noise import brownian_noise, prepare_noise


def test_a_brownian_path_backwards_is_the_negative() -> None:
    source = brownian_noise(torch.zeros(1, 4, 4, 4), 7, [8.0, 2.0, 0.5, 0.0])
    assert torch.equal(source(8.0, 2.0), -source(2.0, 8.0))


def test_a_negative_seed_wraps_to_64_bits() -> None:
    latent = torch.zeros(1, 4, 4, 4)
    assert torch.equal(prepare_noise(latent, -1), prepare_noise(latent, (1 << 64) - 1))
