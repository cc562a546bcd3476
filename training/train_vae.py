"""Trains the decoder and the encoder on the analytic latents of drawn pictures."""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from training.drawing import draw
from training.grammar import Scene, draw_scene
from training.latents import CELL, to_latent
from training.linear_start import LOG_VARIANCE, start_linear
from training.vae import VAE

STATE = Path(__file__).parent / "state"
# (side, cropped to, batch) and their odds, before and after 70 % of the time
KINDS = ((64, 64, 10), (128, 64, 10), (128, 128, 3), (256, 96, 5), (256, 256, 1), (512, 96, 5))
DEFAULTS = {"decoder": (2400, 2e-3), "encoder": (14, 1e-4)}  # steps and peak rate
ODDS = ((0.15, 0.5, 0.2, 0.15, 0, 0), (0.1, 0.2, 0.4, 0.1, 0.15, 0.05))


def crop_at(scene: Scene, side: int, crop: int, rng: random.Random) -> tuple[int, int]:
    """Top left corner, in cells, of a crop that shows part of an object's outline."""
    x, y = rng.choice(scene.centres())
    turn, room = rng.uniform(0, 2 * math.pi), (side - crop) // CELL
    x, y = x + scene.radius * math.cos(turn), y + scene.radius * math.sin(turn)
    return tuple(min(room, max(0, round((part * side - crop * rng.uniform(0.2, 0.8)) / CELL))) for part in (x, y))  # type: ignore[return-value]


def batch_at(step: int, progress: float, seed: int) -> tuple[Tensor, Tensor]:
    """Latents and pictures of one step, the same for the same seed and step."""
    rng = random.Random(f"vae {seed} {step}")
    side, crop, count = rng.choices(KINDS, ODDS[progress > 0.7])[0]
    scenes = [draw_scene(rng) for _ in range(count)]
    pictures = draw(scenes, side)
    latent = to_latent(pictures)
    if crop == side:
        return latent, pictures
    parts = [crop_at(scene, side, crop, rng) for scene in scenes]
    cells = crop // CELL
    latent = torch.stack([z[:, y : y + cells, x : x + cells] for z, (x, y) in zip(latent, parts, strict=True)])
    cuts = [
        picture[:, y * CELL : y * CELL + crop, x * CELL : x * CELL + crop]
        for picture, (x, y) in zip(pictures, parts, strict=True)
    ]
    return latent, torch.stack(cuts)


def decoder_loss(model: VAE, latent: Tensor, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """L1 and squared error of pictures from latents with a little noise, so that generated latents come out clean."""
    strength = 0.15 * torch.rand(len(latent), 1, 1, 1, generator=generator)
    noise = strength * torch.randn(latent.shape, generator=generator)
    noise[:, 3] *= 1.5
    device = next(model.parameters()).device
    error = model.decode((latent + noise).to(device)) - pictures.to(device)
    return error.abs().mean() + error.square().mean()


def encoder_loss(model: VAE, latent: Tensor, pictures: Tensor) -> Tensor:
    """Error of the mean against the analytic latent, and of the log variance against a small constant."""
    mean, spread = model.encode(pictures).chunk(2, 1)
    error = mean - latent
    return error.abs().mean() + error.square().mean() + 0.01 * (spread - LOG_VARIANCE).square().mean()


def train(part: str, steps: int, peak: float, seed: int, path: Path, device: torch.device) -> None:
    """Trains the encoder or the decoder until `steps` steps are done in all, from its state if there is one."""
    torch.manual_seed(seed)
    model = VAE().to(device)
    start_linear(model.encoder)
    module = getattr(model, part)
    optimiser = torch.optim.AdamW(module.parameters(), peak, betas=(0.9, 0.99), weight_decay=1e-3)
    mean = {key: value.clone() for key, value in module.state_dict().items()}
    step, seconds, losses = 0, 0.0, []
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        module.load_state_dict(state["weights"])
        optimiser.load_state_dict(state["optimiser"])
        mean, step, seconds = state["mean"], state["step"], state["seconds"]
    clock = time.monotonic() - seconds
    while step < steps:
        progress = step / steps
        for group in optimiser.param_groups:
            group["lr"] = peak * min(1, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        latent, pictures = batch_at(step, progress, seed)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        loss = (
            encoder_loss(model, latent.to(device), pictures.to(device))
            if part == "encoder"
            else decoder_loss(model, latent, pictures, generator)
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        keep = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for key, value in module.state_dict().items():
                mean[key].lerp_(value, 1 - keep)
        step, seconds = step + 1, time.monotonic() - clock
        losses.append(loss.item())
        if step % 100 == 0 or step == steps:
            print(f"{part} step {step} minute {seconds / 60:.1f} loss {sum(losses) / len(losses):.4f}", flush=True)
            losses = []
            state = {"weights": module.state_dict(), "optimiser": optimiser.state_dict(), "mean": mean}
            torch.save(state | {"step": step, "seconds": seconds}, path.with_suffix(".part"))
            os.replace(path.with_suffix(".part"), path)


def main() -> None:
    """Command line: trains one part of the autoencoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("decoder", "encoder"))
    parser.add_argument("--steps", type=int, help="default 2400 for the decoder, 14 for the encoder")
    parser.add_argument("--rate", type=float, help="default 2e-3 for the decoder, 1e-4 for the encoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cuda trains on the GPU")
    parser.add_argument("--state", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    STATE.mkdir(exist_ok=True)
    steps, rate = DEFAULTS[options.part]
    train(
        options.part,
        options.steps or steps,
        options.rate or rate,
        options.seed,
        options.state or STATE / f"{options.part}.pt",
        torch.device(options.device),
    )


if __name__ == "__main__":
    main()
