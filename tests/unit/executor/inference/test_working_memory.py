"""What a transformer's call takes beside its weights, as the profiler counts it, and what room is made for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from executor.inference.checkpoint import diffusion_model_of
from executor.inference.memory import Memory
from executor.inference.mmdit import MMDiT, MMDiTShape
from executor.inference.weights import WeightFile
from tests.tiny_flux import TINY_FLUX, random_flux
from tests.tiny_wan import TINY_WAN, random_wan, randomized

WIDTH, HEADS, CONTEXT, VECTOR = 256, 2, 24, 12
SIZES = {"width": WIDTH, "heads": HEADS, "inner": 4 * WIDTH, "context": CONTEXT}
SD3 = MMDiTShape(
    **{**SIZES, "heads": 4}, in_channels=16, out_channels=16, patch=2, depth=3, vector=VECTOR, frequencies=256,
    places=32, normed=True, dual=frozenset({0}),
)  # fmt: skip
NETWORKS = {
    "Flux": (lambda: random_flux(replace(TINY_FLUX, **SIZES)), (2, 16, 64, 64), 512),
    "Stable Diffusion 3": (lambda: randomized(MMDiT(SD3)), (2, 16, 64, 64), 154),
    "Wan": (lambda: random_wan(replace(TINY_WAN, **SIZES, waves=256)), (2, 16, 4, 32, 32), 512),
}


def peak_bytes(network: nn.Module, inputs: dict[str, torch.Tensor]) -> int:
    """The most bytes that a call holds at once beside what it was given."""
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        network(**inputs)
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = torch.tensor([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(held.cumsum(0).max())


@pytest.mark.parametrize(("made", "shape", "tokens"), NETWORKS.values(), ids=NETWORKS)
def test_the_room_that_is_made_is_enough_and_at_most_half_as_much_again(made, shape, tokens):
    network = made()
    inputs = {
        "x": torch.randn(shape),
        "timesteps": torch.tensor([0.5, 0.5]),
        "context": torch.randn(2, tokens, CONTEXT),
        **({} if len(shape) > 4 else {"y": torch.randn(2, VECTOR)}),
    }
    file = WeightFile(path=Path("random.safetensors"), tensors=network.state_dict(), metadata={})
    room = diffusion_model_of(file, Memory(mode="cpu")).model.working_bytes(torch.Size(shape))
    needed = peak_bytes(network, inputs)
    assert needed <= room <= 1.5 * needed
