"""Teaches the text encoder a scene's attributes before it meets the UNet."""

from __future__ import annotations

import random

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from training.grammar import COLOURS, COUNTS, PLACES, SHAPES, SIZES, Scene, draw_pair
from training.text import UNKNOWN, TextModel, compact_ids, compact_table
from training.tokens import LENGTH

HEADS = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "background": tuple(COLOURS),
    "size": SIZES,
    "place": PLACES,
    "count": COUNTS,
}


def labels(scenes: list[Scene], name: str) -> torch.Tensor:
    """Class of one attribute (B,), one past the last where the caption leaves it open."""
    names = HEADS[name]
    open_class = len(names)
    return torch.tensor(
        [names.index(getattr(scene, name)) if name == "size" or name in scene.told else open_class for scene in scenes]
    )


def blur_words(places: torch.Tensor, lengths: torch.Tensor, odds: float, generator: torch.Generator) -> torch.Tensor:
    """Captions, a share `odds` of them with unknown words before or behind, so that users' own words stay neutral."""
    places = places.clone()
    for row in torch.where(torch.rand(len(places), generator=generator) < odds)[0].tolist():
        extra = int(torch.randint(1, 5, (1,), generator=generator))
        start = 1 if torch.rand(1, generator=generator) < 0.5 else int(lengths[row]) - 1
        end = places[row, start : LENGTH - extra].clone()
        places[row, start : start + extra] = UNKNOWN
        places[row, start + extra :] = end
    return places


def pretrain_text(model: TextModel, steps: int, seed: int = 0, batch: int = 128) -> float:
    """Trains for a number of steps, on the CPU; returns the last accuracy over all attributes."""
    heads = nn.ModuleDict(
        {name: nn.Linear(model.final_layer_norm.weight.numel(), len(names) + 1) for name, names in HEADS.items()}
    )
    optimiser = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=3e-3, weight_decay=0.01)
    table, right = compact_table(), 0.0
    for step in range(steps):
        rng, generator = random.Random(f"text {seed} {step}"), torch.Generator().manual_seed(seed + step)
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 100, (1.02 - step / steps) * 2)
        pairs = [draw_pair(rng) for _ in range(batch)]
        places = compact_ids([caption for _, caption in pairs], table)
        lengths = (places != places[:, -1:]).sum(1) + 1
        places = blur_words(places, lengths, 0.1, generator)
        lengths = (places != places[:, -1:]).sum(1)
        at = (lengths + (torch.rand(batch, generator=generator) ** 2 * (LENGTH - lengths)).long()).clamp(max=LENGTH - 1)
        state = model(places)[torch.arange(batch), at]
        loss, hits = torch.zeros(()), []
        for name, head in heads.items():
            wanted, found = labels([scene for scene, _ in pairs], name), head(state)
            loss = loss + cross_entropy(found, wanted)
            hits.append((found.argmax(1) == wanted).float().mean().item())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        right = sum(hits) / len(hits)
        if step % 50 == 0:
            print(f"text step {step} loss {loss.item():.3f} hits {[round(hit, 2) for hit in hits]}", flush=True)
    return right
