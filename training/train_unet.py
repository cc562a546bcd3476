"""Trains the UNet and the text encoder on the analytic latents of drawn pictures."""

from __future__ import annotations

import argparse
import math
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from training.diffusion import diffusion_loss
from training.drawing import draw
from training.grammar import draw_pair
from training.latents import CELL, to_latent
from training.pretrain_text import blur_words, pretrain_text
from training.text import UNKNOWN, TextModel, compact_ids, compact_table
from training.unet import UNet, UNetSize

STATE = Path(__file__).parent / "state"
SIZE = UNetSize(widths=(40, 72, 72), attends=(False, True, True), heads=3, context=32)
BATCHES = {64: 64, 128: 32, 192: 14, 256: 8}


@dataclass
class Run:
    """Everything a run needs to go on where it stopped."""

    text: TextModel
    unet: UNet
    optimiser: torch.optim.Optimizer
    mean: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    seconds: float = 0.0

    def weights(self) -> dict[str, Tensor]:
        """The weights of both models under one dictionary."""
        return {
            f"{name}.{key}": value
            for name in ("text", "unet")
            for key, value in getattr(self, name).state_dict().items()
        }

    def average(self) -> None:
        """Moves the running mean of the weights, quickly in the beginning."""
        keep = min(0.999, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, value in self.weights().items():
                self.mean.setdefault(key, value.clone()).lerp_(value, 1 - keep)

    def save(self, path: Path) -> None:
        """Writes the state, at once or not at all."""
        state = {"weights": self.weights(), "mean": self.mean, "optimiser": self.optimiser.state_dict()}
        torch.save(state | {"step": self.step, "seconds": self.seconds}, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def load(self, path: Path) -> None:
        """Takes a state back."""
        state = torch.load(path, map_location=next(self.unet.parameters()).device, weights_only=True)
        for name in ("text", "unet"):
            getattr(self, name).load_state_dict(part_of(state["weights"], name))
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group["fused"], group["foreach"] = True, False
        self.mean, self.step, self.seconds = state["mean"], state["step"], state["seconds"]


def part_of(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The weights of one model out of the common dictionary."""
    return {key.removeprefix(name + "."): value for key, value in weights.items() if key.startswith(name + ".")}


def new_run(seed: int, text_steps: int, device: torch.device) -> Run:
    """A run at its beginning, its text encoder taught the attributes."""
    torch.manual_seed(seed)
    text, unet = TextModel(SIZE.context), UNet(SIZE)
    if text_steps > 0:
        pretrain_text(text, text_steps, seed)
    text, unet = text.to(device), unet.to(device, memory_format=torch.channels_last)
    groups = [{"params": list(unet.parameters()), "share": 1.0}, {"params": list(text.parameters()), "share": 0.2}]
    return Run(text, unet, torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01, fused=True))


def picture_side(progress: float, rng: random.Random) -> int:
    """Side in pixels of a step's pictures: small ones first, large ones late."""
    if progress < 0.2:
        return 64
    sides, odds = ((64, 128, 192, 256), (0.1, 0.9, 0, 0) if progress < 0.72 else (0.06, 0.76, 0.06, 0.12))
    return rng.choices(sides, odds)[0]


def batch_at(step: int, progress: float, seed: int, table: Tensor) -> tuple[Tensor, Tensor, torch.Generator]:
    """Latents, token places and the generator of one step, the same for the same seed and step."""
    rng, generator = random.Random(f"unet {seed} {step}"), torch.Generator().manual_seed(seed * 1_000_003 + step)
    side = picture_side(progress, rng)
    pairs = [draw_pair(rng) for _ in range(BATCHES[side])]
    captions = [caption if rng.random() > 0.1 else "" for _, caption in pairs]
    places = compact_ids(captions, table)
    lengths = (places != places[:, -1:]).sum(1) + 1
    places = blur_words(places, lengths, 0.08, generator)
    return to_latent(draw([scene for scene, _ in pairs], side)), places, generator


def train(run: Run, steps: int, peak: float, seed: int, path: Path) -> None:
    """Trains until `steps` steps are done in all; the rate falls to zero along a cosine by then."""
    table, clock, saved, losses = compact_table(), time.monotonic() - run.seconds, time.monotonic(), {}
    device = next(run.unet.parameters()).device
    parameters = [p for group in run.optimiser.param_groups for p in group["params"]]
    while run.step < steps:
        progress = run.step / steps
        latent, places, generator = batch_at(run.step, progress, seed, table)
        rate = peak * min(1, (run.step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in run.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        loss = diffusion_loss(run.unet, latent, run.text(places.to(device)), generator)
        run.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        run.optimiser.step()
        run.text.embeddings.token_embedding.weight.data[UNKNOWN] = 0
        run.average()
        run.step += 1
        run.seconds = time.monotonic() - clock
        losses.setdefault(latent.shape[2] * CELL, []).append(loss.item())
        if run.step % 50 == 0:
            means = {side: round(sum(part) / len(part), 4) for side, part in losses.items()}
            print(f"step {run.step} minute {run.seconds / 60:.1f} rate {rate:.2e} loss {means}", flush=True)
            losses = {}
        if time.monotonic() - saved > 60:
            run.save(path)
            saved = time.monotonic()
    run.save(path)


def main() -> None:
    """Command line: trains or goes on training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=7500)
    parser.add_argument("--text-steps", type=int, default=500)
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cuda trains on the GPU")
    parser.add_argument("--state", type=Path, default=STATE / "unet.pt")
    parser.add_argument("--fresh", action="store_true", help="start anew even where a state lies")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    STATE.mkdir(exist_ok=True)
    resume = options.state.exists() and not options.fresh
    run = new_run(options.seed, 0 if resume else options.text_steps, torch.device(options.device))
    if resume:
        run.load(options.state)
    train(run, options.steps, options.rate, options.seed, options.state)


if __name__ == "__main__":
    main()
