"""Weights that travel to a pretended device: each layer computes with its own, call after call."""

import torch
from torch import nn

from executor.inference.casting import cast_leaves
from executor.inference.streaming import CudaCarrier, Stream
from tests.pretended_gpu import PretendedGpu


def network(layers: int) -> nn.Sequential:
    made = nn.Sequential(*(nn.Linear(8, 8) for _ in range(layers))).half().requires_grad_(False)
    cast_leaves(made)
    return made


def test_no_layer_computes_with_anothers_weights(gpu: PretendedGpu, device: torch.device):
    for layers in (1, 2, 3, 6, 7):
        made, x = network(layers), torch.randn(3, 8)
        plain = made(x)
        Stream(made, CudaCarrier(device))
        for _ in range(3):
            assert torch.equal(made(x.to(device)).cpu(), plain)


def test_layers_called_by_turns_and_twice_keep_their_own(gpu: PretendedGpu, device: torch.device):
    made, x = network(5), torch.randn(2, 8)
    plain = [layer(x) for layer in made]
    Stream(made, CudaCarrier(device))
    made(x.to(device))
    for number in (0, 0, 1, 2, 4, 3, 3, 4, 0, 2, 3):
        assert torch.equal(made[number](x.to(device)).cpu(), plain[number])
