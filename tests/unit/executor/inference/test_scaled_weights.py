"""Weights of 8 bits with a scale beside them: stored as they are, used and handed out as they are meant."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from executor.errors import ModelFileError
from executor.inference.building import build_part
from executor.inference.casting import CastLinear
from executor.inference.memory import Memory, Part
from executor.inference.patching import PatchSet, WeightPatch
from executor.inference.weights import WeightFile

EIGHT = torch.float8_e4m3fn
SCALE = 0.037


class Network(nn.Module):
    """A table and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer, self.norm = nn.Embedding(5, 4), nn.Linear(4, 3), nn.LayerNorm(3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.norm(self.layer(self.table(ids)))


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    """A file with one marker, and scales beside two weights."""
    generator = torch.Generator().manual_seed(0)
    made = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in Network().state_dict().items()}
    eight = {name: (made[name] * 10).to(EIGHT) for name in ("table.weight", "layer.weight")}
    scales = {name.replace("weight", "scale_weight"): torch.tensor(SCALE) for name in eight}
    return made | eight | scales | {"scaled_fp8": torch.zeros(2).to(EIGHT)}


def built(tensors: dict[str, Tensor]) -> Part[Network]:
    file = WeightFile(path=Path("x.safetensors"), tensors=tensors)
    return build_part(file, "network", "text", Network, {name: name for name in tensors})


@pytest.fixture
def part(tensors) -> Part[Network]:
    return built(tensors)


def answer(tensors: dict[str, Tensor], layer: Tensor | None = None) -> Tensor:
    """What the network computes with weights as they are meant."""
    rows = tensors["table.weight"].float() * SCALE
    weight = tensors["layer.weight"].float() * SCALE if layer is None else layer
    x = functional.linear(rows[IDS], weight, tensors["layer.bias"])
    return functional.layer_norm(x, (3,), tensors["norm.weight"], tensors["norm.bias"])


IDS = torch.tensor([[1, 4, 2]])


@torch.no_grad()
def test_they_stay_as_stored_and_are_multiplied_when_used(part, tensors):
    memory = Memory(mode="cpu")
    memory.load(part)
    assert part.module.layer.weight.dtype == part.module.table.weight.dtype == EIGHT
    assert part.nbytes() == sum(t.numel() * t.element_size() for t in part.stored.values())
    torch.testing.assert_close(part.module(IDS), answer(tensors))


def test_they_are_handed_out_as_they_are_meant(part, tensors):
    for key in ("table.weight", "layer.weight"):
        assert part.weights[key].dtype == torch.float16
        torch.testing.assert_close(part.weights[key].float(), tensors[key].float() * SCALE, rtol=1e-3, atol=1e-6)
    assert part.weights["layer.bias"] is tensors["layer.bias"]
    assert dict(part.weights).keys() == part.stored.keys()


@torch.no_grad()
def test_patches_change_them_as_they_are_meant(part, tensors):
    memory, difference = Memory(mode="cpu"), torch.randn(3, 4)
    patches = PatchSet(by_key={"layer.weight": [WeightPatch(1.0, ("diff", (difference,)))]})
    memory.load(part, patches=patches)
    changed = tensors["layer.weight"].float() * SCALE + difference
    torch.testing.assert_close(part.module(IDS), answer(tensors, changed), rtol=1e-2, atol=1e-2)
    memory.load(part, patches=PatchSet())
    torch.testing.assert_close(part.module(IDS), answer(tensors))


@torch.no_grad()
def test_rounding_to_their_own_type_leaves_them(part, tensors):
    part.round_weights(EIGHT)
    assert part.stored["layer.weight"] is tensors["layer.weight"]
    assert part.stored["layer.bias"].dtype == EIGHT
    assert part.scales.keys() == {"table.weight", "layer.weight"}


@torch.no_grad()
def test_rounding_to_another_type_multiplies_them_once(part, tensors):
    part.round_weights(torch.float16)
    Memory(mode="cpu").load(part)
    assert not part.scales
    assert part.module.layer.weight_scale is None
    torch.testing.assert_close(part.module(IDS), answer(tensors), rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_a_module_that_is_placed_in_another_type_holds_them_multiplied(tensors):
    """A file of mostly large numbers is not kept as it is."""
    file = WeightFile(path=Path("x.safetensors"), tensors={**tensors, "table.weight": torch.randn(5, 4)})
    part = build_part(file, "network", "diffusion", Network, {name: name for name in file.tensors})
    part.file_dtype = torch.float32
    Memory(mode="cpu").load(part)
    wanted = tensors["layer.weight"].float() * SCALE
    torch.testing.assert_close(part.module.layer.weight, wanted, rtol=1e-3, atol=1e-6)


EACH = torch.full((3,), SCALE)


@pytest.mark.parametrize(
    "scale", [EACH[:, None], EACH, torch.tensor([SCALE])], ids=["each row", "each row in a line", "one"]
)
@torch.no_grad()
def test_scales_of_any_shape_count(tensors, scale):
    part = built({**tensors, "layer.scale_weight": scale})
    Memory(mode="cpu").load(part)
    torch.testing.assert_close(part.module(IDS), answer(tensors), rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_the_newer_name_of_a_scale_counts_too(tensors):
    renamed = {name.replace("scale_weight", "weight_scale"): tensor for name, tensor in tensors.items()}
    part = built(renamed | {"layer.comfy_quant": torch.zeros(30, dtype=torch.uint8)})
    Memory(mode="cpu").load(part)
    assert part.scales.keys() == {"table.weight", "layer.weight"}
    torch.testing.assert_close(part.module(IDS), answer(tensors))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"layer.weight_scale": torch.ones(3, 2)}, r"holds \(3, 2\) scales for layer\.weight of shape \(3, 4\)"),
        ({"layer.weight_scale": torch.ones(3, dtype=torch.uint8)}, r"one scale for each weight or each of its rows"),
        ({"layer.weight": torch.ones(3, 2, dtype=torch.uint8)}, r"holds layer\.weight as uint8; weights of type float"),
        ({"layer.weight": torch.ones(6, 1, dtype=torch.uint8)}, r"holds layer\.weight as uint8; weights of type float"),
    ],
    ids=["scales of parts", "scales of 8 bits", "4 bits with scales", "4 bits in a line"],
)
def test_other_ways_to_store_few_bits_are_refused(tensors, changes, told):
    plain = {name: tensor for name, tensor in tensors.items() if "scale_weight" not in name}
    with pytest.raises(ModelFileError, match=told):
        built(plain | changes)


def test_layers_without_a_scale_multiply_nothing():
    layer = CastLinear(4, 3, bias=False)
    layer.weight = nn.Parameter(torch.ones(3, 4).to(EIGHT), requires_grad=False)
    assert layer(torch.ones(1, 4)).tolist() == [[4.0, 4.0, 4.0]]
