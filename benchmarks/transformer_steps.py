"""A step of a sampling by a transformer, beside diffusers' network alone with the same weights and sizes.

The floor is what diffusers' pipelines call in each step, with nothing around it; where its answer is not that of our
network, nothing is measured. Samplings and calls take turns; figures are the least of all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.figures import Figure
from benchmarks.pictures import use_cores
from benchmarks.transformer_peers import Pair, Sizes, flux, sd3, t5_layer, wan
from executor.inference.checkpoint import diffusion_model_of
from executor.inference.denoising import Guidance, sample_sigmas
from executor.inference.handle import ModelHandle
from executor.inference.memory import Memory
from executor.inference.samplers import sampler
from executor.inference.schedules import ksampler_sigmas
from executor.inference.values import Latent
from executor.inference.weights import WeightFile

MOST_RATIO = 1.03
ALIKE = 1e-4  # of the largest number: float32 sums in another order
TEXT = 128  # tokens of a text that T5 reads
TURNS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A kind of network, what it is given, and how much is measured."""

    name: str
    make: Callable[[Sizes], Pair]
    sizes: Sizes
    sides: int = 2  # of the guidance, in one call
    steps: int = 1
    rounds: int = 5


CASES = (
    Case(name="Flux step 48² cells", make=flux, sizes=Sizes(latents=(1, 16, 48, 48), text=256), sides=1),
    Case(name="SD3 step 32² cells", make=sd3, sizes=Sizes(latents=(2, 16, 32, 32), text=154, blocks=(4, 0))),
    Case(name="Wan step 3 x 32² cells", make=wan, sizes=Sizes(latents=(2, 16, 3, 32, 32), text=512, blocks=(2, 0))),
)


def figures() -> list[Figure]:
    """A step of each kind of network, and a layer of T5-XXL in float32."""
    use_cores()
    return [*(measured(case) for case in CASES), in_turn(f"T5-XXL layer, {TEXT} tokens", *t5_layer(TEXT))]


def measured(case: Case) -> Figure:
    """A step, in milliseconds."""
    pair = case.make(case.sizes)
    refuse_unlike(case.name, pair.ours(**pair.inputs), pair.theirs())
    sampling = sampling_of(model_of(pair), case)
    sampling()
    steps: list[float] = []
    calls: list[float] = []
    for _ in range(case.rounds):
        calls += [taken(pair.theirs) for _ in range(case.steps)]
        steps += sampling()
    return figure(case.name, steps, calls, "diffusers' network")


def in_turn(name: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> Figure:
    """A layer of a text encoder, in milliseconds."""
    with torch.inference_mode():
        refuse_unlike(name, ours(), theirs())
        turns = [(taken(theirs), taken(ours)) for _ in range(TURNS)]
    return figure(name, [own for _, own in turns], [other for other, _ in turns], "transformers' layer")


def figure(name: str, own: list[float], other: list[float], floor_name: str) -> Figure:
    """The least of the seconds of both sides, in milliseconds."""
    return Figure(name=name, value=min(own) * 1000, unit="ms",
                  floor=min(other) * 1000, floor_name=floor_name, most_ratio=MOST_RATIO)  # fmt: skip


@torch.inference_mode()
def taken(call: Callable[[], Tensor]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def refuse_unlike(name: str, own: Tensor, other: Tensor) -> None:
    """AssertionError where two answers are not the same: they were not the same work."""
    difference = float((own - other).abs().max() / other.abs().max())
    if not difference <= ALIKE:
        raise AssertionError(f"{name}: the answers differ by {difference:.2g} of the largest number")


def model_of(pair: Pair) -> ModelHandle:
    """The network as nodes hand it around."""
    file = WeightFile(path=Path("random.safetensors"), tensors=pair.ours.state_dict(), metadata={})
    return diffusion_model_of(file, Memory(torch.device("cpu")))


def sampling_of(model: ModelHandle, case: Case) -> Callable[[], list[float]]:
    """A sampling that tells the seconds of each of its steps but the first, which begins before the model is ready."""
    sizes = case.sizes
    text, vector = torch.randn(2, 1, sizes.text, sizes.context), torch.randn(2, 1, sizes.vector)
    positive, negative = ([(text[side], {"pooled_output": vector[side]})] for side in range(2))
    guidance = Guidance(positive=positive, negative=negative, cfg=1.0 if case.sides == 1 else 4.0)
    noise = torch.randn(1, *sizes.latents[1:])
    sigmas = ksampler_sigmas(model.model.model_sampling, "simple", "euler", case.steps + 1)

    def run() -> list[float]:
        ends: list[float] = []

        def told(index: int, x: Tensor, denoised: Tensor) -> None:
            ends.append(time.perf_counter())

        latent: Latent = {"samples": torch.zeros_like(noise)}
        sample_sigmas(model, latent, noise, sigmas, sampler("euler"), guidance, seed=0, on_step=told)
        return [after - before for before, after in pairwise(ends)]

    return run
