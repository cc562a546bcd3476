"""Seeded noise: of a whole batch before sampling, and of each step inside samplers. Knows no sampler."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from executor.inference.crossing import sent, sent_like
from executor.inference.devices import refuse_unless_free
from executor.inference.seams import seam

if TYPE_CHECKING:
    from torchsde import BrownianTree

NoiseSource = Callable[[float, float], Tensor]
"""Unit noise for a step between two sigmas, in the latent's shape."""

SEED_RANGE = 1 << 64
COPIES = 3  # of latents that a sampling makes at least: noise, start, and what is between
# torchsde rounds the ends of a tree's interval to its tolerance of 1e-6.
TREE_DIGITS = 6


@seam("sample.prepare_noise")
def prepare_noise(latent: Tensor, seed: int, batch_index: Sequence[int] | None = None) -> Tensor:
    """Unit noise in the shape and dtype of `latent`, drawn on the CPU from the 64-bit seed.

    Raises NodeInputError when there is no memory for it.

    With `batch_index` each picture gets the noise it would have at that place of a larger batch.
    """
    refuse_unless_free(COPIES * latent.numel() * latent.element_size(), f"sampling latents of {list(latent.shape)}")
    generator = torch.Generator("cpu").manual_seed(unsigned_seed(seed))
    if batch_index is None:
        return torch.randn(latent.shape, dtype=latent.dtype, generator=generator)
    one = (1, *latent.shape[1:])
    drawn = [torch.randn(one, dtype=latent.dtype, generator=generator) for _ in range(max(batch_index) + 1)]
    return torch.cat([drawn[index] for index in batch_index])


@seam("k_diffusion.sampling.default_noise_sampler")
def step_noise(x: Tensor, seed: int | None = None) -> NoiseSource:
    """Independent unit noise per call, from a generator of its own on the device of `x`; without a seed torch's."""
    generator = None if seed is None else torch.Generator(x.device).manual_seed(unsigned_seed(seed))

    def draw(sigma: float, sigma_next: float) -> Tensor:
        return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)

    return draw


Following = Callable[[Tensor], Tensor]
"""Unit noise in the shape of a latent, which may change on the way."""


def following_noise(x: Tensor, seed: int) -> Following:
    """Unit noise from the generator that drew the start noise of `x`, as it goes on after it, on the CPU."""
    generator = torch.Generator("cpu").manual_seed(unsigned_seed(seed))
    torch.randn(x.shape, dtype=x.dtype, generator=generator)

    def draw(like: Tensor) -> Tensor:
        return sent(torch.randn(like.shape, dtype=like.dtype, generator=generator), like.device)

    return draw


def brownian_noise(x: Tensor, seed: int, sigmas: Sequence[float], *, on_cpu: bool = True) -> NoiseSource:
    """Unit noise whose values over adjoining or nested intervals of sigma belong to one Brownian path.

    The path runs over the non-zero `sigmas`. With `on_cpu` it is the same on every device.
    Source: Li et al. 2020, arXiv:2001.01328 (virtual Brownian tree).
    """
    positive = [sigma for sigma in sigmas if sigma > 0]
    first, last = min(positive), max(positive)
    tree = _brownian_tree(torch.zeros_like(x, device="cpu") if on_cpu else x, seed, first, last)
    first, last = round(first, TREE_DIGITS), round(last, TREE_DIGITS)

    def draw(sigma: float, sigma_next: float) -> Tensor:
        low, high = (min(max(time, first), last) for time in sorted((sigma, sigma_next)))
        increment = sent_like(tree(low, high), x)
        return increment * (math.copysign(1.0, sigma_next - sigma) / math.sqrt(abs(sigma_next - sigma)))

    return draw


def _brownian_tree(x: Tensor, seed: int, start: float, stop: float) -> BrownianTree:
    from torchsde import BrownianTree  # imports scipy: only where a sampler asks for it

    zero = torch.zeros_like(x)
    return BrownianTree(torch.tensor(start), zero, torch.tensor(stop), entropy=unsigned_seed(seed))


def unsigned_seed(seed: int) -> int:
    """The seed as the unsigned 64 bits that a generator takes."""
    return seed % SEED_RANGE
