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


def test_weights_travel_in_inference_mode_and_out_of_it(gpu: PretendedGpu, device: torch.device):
    made, x = network(3), torch.randn(2, 8)
    plain = made(x)
    with torch.inference_mode():
        Stream(made, CudaCarrier(device))
        made(x.to(device))
    assert torch.equal(made(x.to(device)).cpu(), plain)


def test_pinned_memory_is_reckoned_as_it_is_taken(gpu: PretendedGpu, device: torch.device):
    carrier = CudaCarrier(device)
    carrier.pinnable = 5000
    weight = torch.zeros(1100, dtype=torch.float16)  # 2200 bytes, of which PyTorch makes 4096
    kept = carrier.keep(weight)
    assert (kept.is_pinned(), carrier.pinnable) == (True, 904)
    assert carrier.keep(weight) is weight
    carrier.keep(torch.zeros(1, dtype=torch.uint8), kept)
    assert carrier.pinnable == 4999


def test_what_was_pinned_is_given_back_at_the_end(gpu: PretendedGpu, device: torch.device):
    made = network(3)
    stream = Stream(made, CudaCarrier(device))
    made(torch.randn(2, 8).to(device))
    stream.close()
    assert not [each for each in list(gpu.pinned) if each.dtype == torch.float16]
    assert gpu.emptied == ["pinned"]
