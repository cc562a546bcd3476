"""Layers that cast their weights: same numbers as plain layers, in the type of their input, and undone."""

import copy

import pytest
import torch
from torch import nn

from executor.inference import casting
from executor.inference.casting import cast_leaves, plain_leaves

LEAVES = {
    "linear": (nn.Linear(6, 4), torch.randn(3, 6)),
    "convolution": (nn.Conv2d(6, 4, 3, padding=1, stride=2), torch.randn(2, 6, 8, 8)),
    "group norm": (nn.GroupNorm(2, 6), torch.randn(2, 6, 4, 4)),
    "layer norm": (nn.LayerNorm(6), torch.randn(2, 3, 6)),
    "root mean square norm": (nn.RMSNorm(6, eps=1e-6), torch.randn(2, 3, 6)),
    "embedding": (nn.Embedding(9, 6), torch.tensor([[1, 8, 0]])),
    "linear without bias": (nn.Linear(6, 4, bias=False), torch.randn(3, 6)),
}


@pytest.mark.parametrize(("layer", "x"), LEAVES.values(), ids=LEAVES)
def test_half_precision_weights_compute_in_float32(layer, x):
    half = copy.deepcopy(layer).half()
    plain = copy.deepcopy(half).float()
    module = nn.Sequential(half)
    cast_leaves(module)
    assert torch.equal(module(x), plain(x))


@pytest.mark.parametrize(("layer", "x"), LEAVES.values(), ids=LEAVES)
def test_casting_is_undone(layer, x):
    module = nn.Sequential(copy.deepcopy(layer))
    cast_leaves(module)
    plain_leaves(module)
    assert type(module[0]) is type(layer)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stored", [torch.float16, torch.float8_e4m3fn])
def test_large_weights_are_cast_in_pieces_to_the_same_answer(monkeypatch, stored, bias):
    layer, x = nn.Linear(6, 7, bias=bias), torch.randn(2, 3, 6)
    layer.weight.data = layer.weight.data.to(stored)
    plain = copy.deepcopy(layer).float()
    module = nn.Sequential(layer)
    cast_leaves(module)
    layer.weight_scale, products = 0.5, []
    usual = nn.functional.linear
    monkeypatch.setattr(casting, "PIECE", 20)  # three rows
    monkeypatch.setattr(nn.functional, "linear", lambda *given: products.append(given[1].shape) or usual(*given))
    plain.weight.data *= 0.5 if stored in casting.EIGHT_BITS else 1.0
    torch.testing.assert_close(module(x), usual(x, plain.weight, plain.bias))
    assert products == [(3, 6), (3, 6), (1, 6)]


def test_layers_of_other_classes_are_left_alone():
    class Own(nn.Linear):
        """Somebody's own layer."""

    module = nn.Sequential(Own(2, 2))
    cast_leaves(module)
    assert type(module[0]) is Own
