"""Hypernetworks: files against torch's own layers, and what attentions are given."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from executor.errors import ModelFileError
from executor.inference.checkpoint import load_checkpoint
from executor.inference.hypernetwork import load_hypernetwork
from executor.inference.memory import Memory
from nodes.builtin.hypernetwork import HypernetworkLoader
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

WIDTH = 8
SHAPES = {
    "plain": ([1, 2, 1], "linear", False, False, nn.Identity),
    "relu": ([1, 2, 1], "relu", False, False, nn.ReLU),
    "three layers, norms": ([1, 2, 3, 1], "mish", True, False, nn.Mish),
    "active to the end": ([1, 2, 1], "swish", False, True, nn.Hardswish),
}


def network(structure, activation, norms, last):
    """Layers in the order of the trainings: linear, activation, norm."""
    parts = []
    for place, (into, out) in enumerate(pairwise(structure)):
        parts.append(nn.Linear(WIDTH * into, WIDTH * out))
        if place < len(structure) - 2 or last:
            parts.append(activation())
        if norms:
            parts.append(nn.LayerNorm(WIDTH * out))
    return nn.Sequential(*parts)


def tensors_of(module):
    return {f"linear.{name}": tensor for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("name", SHAPES)
def test_tokens_change_as_torchs_own_layers_say(tmp_path, name):
    structure, activation, norms, last, layer = SHAPES[name]
    torch.manual_seed(1)
    keys, values = (network(structure, layer, norms, last) for _ in range(2))
    content = {WIDTH: (tensors_of(keys), tensors_of(values)), "layer_structure": structure, "name": "x", "step": 3}
    content |= {"activation_func": activation, "activate_output": last, "is_layer_norm": norms}
    torch.save(content, tmp_path / "net.pt")
    found = load_hypernetwork(tmp_path / "net.pt", -0.5)
    x = torch.randn(2, 5, WIDTH)
    tokens, context, value = found(x, x, x, {})
    assert tokens is x
    with torch.no_grad():
        torch.testing.assert_close(context, x - 0.5 * keys(x))
        torch.testing.assert_close(value, x - 0.5 * values(x))


def test_tokens_of_other_widths_stay(tmp_path):
    torch.save({WIDTH: (tensors_of(nn.Sequential(nn.Linear(WIDTH, WIDTH))),) * 2}, tmp_path / "net.pt")
    x = torch.randn(1, 2, WIDTH + 1)
    assert load_hypernetwork(tmp_path / "net.pt", 1.0)(x, x, x, {}) == (x, x, x)


def test_the_first_files_name_their_layers_otherwise(tmp_path):
    first, second = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
    named = {f"linear1.{name}": tensor for name, tensor in first.state_dict().items()}
    named |= {f"linear2.{name}": tensor for name, tensor in second.state_dict().items()}
    torch.save({WIDTH: [named, named]}, tmp_path / "net.pt")
    x = torch.randn(1, 2, WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(load_hypernetwork(tmp_path / "net.pt", 1.0)(x, x, x, {})[1], x + second(first(x)))


def test_half_precision_tokens_stay_so(tmp_path):
    torch.save({WIDTH: (tensors_of(nn.Sequential(nn.Linear(WIDTH, WIDTH))),) * 2}, tmp_path / "net.pt")
    x = torch.randn(1, 2, WIDTH).half()
    assert load_hypernetwork(tmp_path / "net.pt", 1.0)(x, x, x, {})[2].dtype == torch.float16


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lora_down.weight": torch.zeros(1)}, "looks like a LoRA; a hypernetwork for SD1.x"),
        ({WIDTH: ({}, {})}, "a network without layers"),
        (
            {WIDTH: ({"linear.0.weight": torch.zeros(1, 1)},) * 2, "activation_func": "wavy"},
            "has the activation 'wavy'",
        ),
        ([torch.zeros(1)], "holds no named values"),
        ({WIDTH: (SimpleNamespace(),) * 2}, "could run code"),
    ],
)
def test_what_is_no_hypernetwork_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(ModelFileError, match=message):
        load_hypernetwork(tmp_path / "net.pt", 1.0)


def test_the_node_changes_both_attentions_of_a_clone(place, tmp_path):
    sizes = TinySizes(vocabulary=9, widths=(8,), attends=(True,), text_layers=1, vae_widths=(4, 4), context=WIDTH)
    model = load_checkpoint(write_tiny_checkpoint(tmp_path / "x.safetensors", sizes), Memory(mode="cpu")).model
    folder = place.folders.paths("hypernetworks")[0]
    folder.mkdir(parents=True)
    torch.save({WIDTH: (tensors_of(nn.Sequential(nn.Linear(WIDTH, WIDTH))),) * 2}, folder / "net.pt")
    [changed] = HypernetworkLoader().load_hypernetwork(model, "net.pt", 1.0)
    x, context, answers = torch.randn(1, 4, 8, 8), torch.randn(1, 7, WIDTH), []
    for handle in (model, changed):
        handle.load()
        options = handle.model_options["transformer_options"]
        with torch.no_grad():
            answers.append(handle.model.apply(x, torch.tensor([2.0]), context=context, transformer_options=options))
    assert not torch.allclose(*answers)
    assert sorted(changed.model_options["transformer_options"]["patches"]) == ["attn1_patch", "attn2_patch"]
    assert not model.model_options["transformer_options"]
