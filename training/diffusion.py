"""SD1.5's noise schedule, the training loss and a plain Euler sampler."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 1000
TOP_WEIGHT = 50.0


def alpha_bars() -> Tensor:
    """Cumulative signal shares (1000,) of the scaled-linear betas 0.00085..0.012."""
    return (1 - torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2).cumprod(0).float()


def draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Timesteps (count,), half of them from the noisier half."""
    timesteps = torch.randint(0, STEPS, (count,), generator=generator)
    noisy = torch.rand(count, generator=generator) < 0.5
    return torch.where(noisy, STEPS // 2 + timesteps // 2, timesteps)


def noised(latent: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Noisy latents, timesteps, the noise to predict and the loss weights (B,).

    Some noises carry a constant per channel, and some of the noisiest inputs are noise alone, so that the text
    rather than the mean left in the input decides the colours.
    """
    count = len(latent)
    timestep = draw_timesteps(count, generator)
    bars = alpha_bars()[timestep]
    signal, spread = bars.sqrt()[:, None, None, None], (1 - bars).sqrt()[:, None, None, None]
    noise = torch.randn(latent.shape, generator=generator)
    offset = 0.15 * torch.randn(count, 4, 1, 1, generator=generator)
    noise = noise + offset * (torch.rand(count, 1, 1, 1, generator=generator) < 0.5)
    alone = (timestep >= 900) & (torch.rand(count, generator=generator) < 0.3)
    mixed = signal * latent + spread * noise
    mixed = torch.where(alone[:, None, None, None], noise, mixed)
    return mixed, timestep, (mixed - signal * latent) / spread, (1 / bars).clamp(max=TOP_WEIGHT)


def diffusion_loss(model: nn.Module, latent: Tensor, context: Tensor, generator: torch.Generator) -> Tensor:
    """Weighted squared error of the predicted noise; noise is drawn on the CPU whatever the context's device."""
    mixed, timestep, target, weight = (part.to(context.device) for part in noised(latent, generator))
    mixed = mixed.contiguous(memory_format=torch.channels_last)
    error = (model(mixed, timestep, context) - target).square().mean((1, 2, 3))
    return (error * weight).mean() / 20


@torch.no_grad()
def sample(
    model: nn.Module, context: Tensor, empty: Tensor, cells: int, seed: int, steps: int = 20, guidance: float = 2.5
) -> Tensor:
    """Latents (B, 4, cells, cells) by Euler steps over 'normal' sigmas under contexts (B, 77, C)."""
    bars = alpha_bars()
    sigmas = ((1 - bars) / bars).sqrt()
    timesteps = torch.linspace(STEPS - 1, 0, steps)
    low = timesteps.floor().long()
    ladder = torch.lerp(sigmas.log()[low], sigmas.log()[(low + 1).clamp(max=STEPS - 1)], timesteps - low).exp()
    ladder = torch.cat([ladder, torch.zeros(1)])
    latent = torch.randn(len(context), 4, cells, cells, generator=torch.Generator().manual_seed(seed))
    latent = latent * (1 + ladder[0] ** 2).sqrt()
    both = torch.cat([context, empty.expand_as(context)])
    for index, timestep in enumerate(timesteps):
        scaled = latent / (1 + ladder[index] ** 2).sqrt()
        found = model(torch.cat([scaled, scaled]), timestep.expand(len(both)), both)
        told, free = found.chunk(2)
        latent = latent + (free + guidance * (told - free)) * (ladder[index + 1] - ladder[index])
    return latent
