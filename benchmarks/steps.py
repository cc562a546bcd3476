"""A step of a sampling, both sides of the guidance in it, beside the bare network called at the same shapes.

The floor is the same module, called with nothing around it. Samplings and bare calls take turns; figures are the least
of all steps, since what else the machine does only adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from benchmarks.figures import Figure, absent
from benchmarks.model_files import DEMO, full_size
from benchmarks.pictures import CFG, NEGATIVE, PROMPT, Weft, use_cores
from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.devices import Ways
from executor.inference.packing import packable_types
from executor.inference.samplers import sampler
from executor.inference.values import Latent

MOST_RATIO = 1.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One size of pictures, and how much is measured."""

    side: int
    steps: int
    rounds: int


FULL = (Case(side=64, steps=4, rounds=4), Case(side=256, steps=2, rounds=2))
SMALL = (Case(side=128, steps=20, rounds=20), Case(side=512, steps=10, rounds=4))


def figures() -> list[Figure]:
    """The demo's model at its own size and a large one, SD1.5 at full size at two."""
    use_cores()
    full = Weft(full_size())
    return [*measured("demo", Weft(DEMO), SMALL), *measured("SD1.5", full, FULL), *in_bfloat16(full)]


def measured(name: str, weft: Weft, cases: tuple[Case, ...]) -> list[Figure]:
    """A step at every size, in milliseconds."""
    found = []
    for case in cases:
        sampling, bare = sampling_of(weft, case), bare_of(weft, case)
        sampling(), bare()
        steps: list[float] = []
        calls: list[float] = []
        for _ in range(case.rounds):
            calls += bare()
            steps += sampling()
        found.append(
            Figure(name=f"{name} step {case.side}x{case.side}", value=min(steps) * 1000, unit="ms",
                   floor=min(calls) * 1000, floor_name="the bare network, both sides", most_ratio=MOST_RATIO)
        )  # fmt: skip
    return found


def in_bfloat16(full: Weft) -> list[Figure]:
    """A step as `--bf16-unet` computes it, another picture, beside the usual one; absent without the hardware."""
    case = FULL[-1]
    name = f"SD1.5 step {case.side}x{case.side}, bfloat16"
    if torch.bfloat16 not in packable_types():
        return absent([name], "the processor has no bfloat16")
    half = Weft(full_size(), Ways(diffusion=torch.bfloat16))
    sides = [sampling_of(weft, case) for weft in (half, full)]
    taken: list[list[float]] = [[], []]
    for _ in range(case.rounds):
        for side, kept in zip(sides, taken, strict=True):
            kept += side()
    value, floor = (min(steps) * 1000 for steps in taken)
    return [Figure(name=name, value=value, unit="ms", floor=floor, floor_name="the same in float32")]


def sampling_of(weft: Weft, case: Case) -> Callable[[], list[float]]:
    """A sampling that tells the seconds of each of its steps but the first, which begins before the model is ready."""
    checkpoint = weft.checkpoint
    assert checkpoint.clip is not None
    positive, negative = checkpoint.clip.encode(PROMPT), checkpoint.clip.encode(NEGATIVE)
    guidance = Guidance(positive=positive, negative=negative, cfg=CFG)
    noise = torch.randn(1, 4, case.side // 8, case.side // 8)
    sigmas = torch.tensor(weft.sigmas(case.steps + 1))

    def run() -> list[float]:
        ends: list[float] = []

        def told(index: int, x: Tensor, denoised: Tensor) -> None:
            ends.append(time.perf_counter())

        latent: Latent = {"samples": torch.zeros_like(noise)}
        sample_sigmas(checkpoint.model, latent, noise, sigmas, sampler("euler"), guidance, seed=0, on_step=told)
        return [after - before for before, after in pairwise(ends)]

    return run


def bare_of(weft: Weft, case: Case) -> Callable[[], list[float]]:
    """As many bare calls of the loaded network, and the seconds of each."""
    model = weft.checkpoint.model
    network, width = model.model.diffusion_model, model.model.text_width
    assert width is not None
    x, text = torch.randn(2, 4, case.side // 8, case.side // 8), torch.randn(2, 77, width)
    timesteps = torch.tensor([500.0, 500.0])

    def run() -> list[float]:
        taken = []
        with torch.inference_mode():
            for _ in range(case.steps):
                start = time.perf_counter()
                network(x, timesteps, context=text)
                taken.append(time.perf_counter() - start)
        return taken

    return run
