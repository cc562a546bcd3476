"""Convolutions with weights laid out: the same answers as plain ones, and back to them where they have to be."""

import copy

import pytest
import torch
from torch import Tensor, nn

from executor.inference import packing
from executor.inference.devices import CPU
from executor.inference.memory import Memory, Part
from executor.inference.packing import PackedConv2d, channels_last, is_packed, pack_leaves, unpack_leaves
from executor.inference.patching import PatchSet, WeightPatch

pytestmark = pytest.mark.skipif(not packing.can_pack(), reason="this build of PyTorch lacks oneDNN")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def convolution(**options: object) -> nn.Conv2d:
    """A layer of enough weights."""
    return nn.Conv2d(96, 96, 3, **{"padding": 1, **options}).requires_grad_(False)  # type: ignore[arg-type]


def packed(layer: nn.Conv2d) -> nn.Sequential:
    """A copy of a layer within a module that was told to pack."""
    module = nn.Sequential(copy.deepcopy(layer))
    pack_leaves(module)
    return module


def ordered(x: Tensor) -> Tensor:
    """x with the channels of a cell side by side."""
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("order", [torch.Tensor.contiguous, ordered], ids=["by channel", "by cell"])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"bias": False}, {"dilation": 2, "padding": 2}], ids=str)
def test_the_answer_is_that_of_a_plain_layer(options, order):
    layer = convolution(**options)
    x = order(torch.randn(2, 96, 7, 9))
    torch.testing.assert_close(packed(layer)(x), layer(x), **CLOSE)


def test_half_precision_weights_compute_in_float32():
    layer = convolution().half()
    x = torch.randn(1, 96, 4, 4)
    module = nn.Sequential(layer)
    layer.bias = nn.Parameter(layer.bias.float(), requires_grad=False)  # as a module is placed
    pack_leaves(module)
    torch.testing.assert_close(module(x), copy.deepcopy(convolution_of(layer))(x), **CLOSE)


@pytest.mark.skipif(torch.bfloat16 not in packing.packable_types(), reason="this processor lacks bfloat16")
def test_bfloat16_computes_as_a_plain_layer_does():
    layer = convolution().bfloat16()
    x = torch.randn(1, 96, 8, 8).bfloat16()
    torch.testing.assert_close(packed(layer)(x), layer(x), rtol=1.6e-2, atol=1e-2)


def test_another_type_of_input_is_laid_out_anew():
    layer = convolution()
    module = packed(layer)
    module(torch.randn(1, 96, 4, 4))
    x = torch.randn(1, 96, 4, 4).bfloat16()
    torch.testing.assert_close(module(x), copy.deepcopy(layer).bfloat16()(x), rtol=1.6e-2, atol=1e-2)


def convolution_of(layer: nn.Conv2d) -> nn.Conv2d:
    """A plain float32 layer of the same weights."""
    plain = convolution()
    plain.load_state_dict({name: weight.float() for name, weight in layer.state_dict().items()})
    return plain


def test_pictures_of_other_sizes_are_answered_rightly():
    layer = convolution()
    module = packed(layer)
    for side in (4, 9, 4, 9, 9, 4):
        x = torch.randn(1, 96, side, side)
        torch.testing.assert_close(module(x), layer(x), **CLOSE)


@pytest.mark.parametrize(("sides", "laid_out_for"), [((4, 9, 4), 4), ((4, 9, 9), 9), ((4, 9, 4, 9), 4)], ids=str)
def test_weights_are_laid_out_anew_when_a_size_comes_twice_in_a_row(sides, laid_out_for):
    module = packed(convolution())
    for side in sides:
        module(torch.randn(1, 96, side, side))
    assert module[0].layout.shape[-1] == laid_out_for


def test_another_weight_is_seen():
    module, other, x = packed(convolution()), convolution(bias=False), torch.randn(1, 96, 4, 4)
    module(x)
    module[0].weight, module[0].bias = other.weight, None
    torch.testing.assert_close(module(x), other(x), **CLOSE)


def test_what_is_written_into_a_weight_is_seen():
    layer = convolution()
    module, x = packed(layer), torch.randn(1, 96, 4, 4)
    module(x)
    module[0].weight.mul_(2)
    layer.weight.mul_(2)
    torch.testing.assert_close(module(x), layer(x), **CLOSE)


def test_weights_made_for_inference_alone_are_laid_out_too():
    with torch.inference_mode():
        layer = convolution()
        x = torch.randn(1, 96, 4, 4)
        torch.testing.assert_close(packed(layer)(x), layer(x), **CLOSE)


def test_the_same_weight_is_laid_out_once():
    module, x = packed(convolution()), torch.randn(1, 96, 4, 4)
    module(x)
    first = module[0].layout.packed
    module(x)
    assert module[0].layout.packed is first


def test_gradients_flow():
    x = torch.randn(1, 96, 4, 4, requires_grad=True)
    packed(convolution())(x).sum().backward()
    assert x.grad is not None


def test_a_packs_own_arithmetic_is_used():
    module = packed(convolution())
    module[0]._conv_forward = lambda x, weight, bias: x * 2
    x = torch.randn(1, 96, 4, 4)
    assert torch.equal(module(x), x * 2)


def test_a_padding_that_was_changed_is_used():
    layer = convolution()
    module, x = packed(layer), torch.randn(1, 96, 4, 4)
    zeros = module(x)
    module[0].padding_mode = "circular"
    module[0]._reversed_padding_repeated_twice = [1, 1, 1, 1]
    assert not torch.allclose(module(x), zeros)


NO_GAIN = {
    "few channels": nn.Conv2d(4, 96, 3),
    "few weights": nn.Conv2d(16, 16, 3),
    "groups": nn.Conv2d(960, 960, 3, groups=96),
    "broken vectors": nn.Conv2d(300, 300, 3),
    "another layer": nn.Linear(304, 304),
}


@pytest.mark.parametrize("layer", NO_GAIN.values(), ids=NO_GAIN)
def test_layers_that_gain_nothing_stay(layer):
    module = nn.Sequential(layer)
    assert (pack_leaves(module), type(module[0]), is_packed(module)) == (set(), type(layer), False)


def test_packing_is_undone():
    module = packed(convolution())
    unpack_leaves(module)
    assert (type(module[0]), module[0].layout if hasattr(module[0], "layout") else None) == (nn.Conv2d, None)


def test_channels_stand_side_by_side_only_where_it_helps():
    module, x = packed(convolution()), torch.randn(1, 4, 8, 8)
    by_cell = channels_last(x, module)
    unpack_leaves(module)
    assert by_cell.is_contiguous(memory_format=torch.channels_last)
    assert channels_last(x, module) is x


@pytest.fixture
def part() -> Part[nn.Module]:
    """A module of one large convolution with half-precision weights from a 'file'."""
    module = nn.Sequential(convolution())
    weights = {key: tensor.half() for key, tensor in module.state_dict().items()}
    part: Part[nn.Module] = Part("net", "diffusion", module, weights, {key: key for key in weights})
    part.release()
    return part


def test_a_module_on_the_cpu_holds_no_second_copy(part):
    Memory(CPU).load(part)
    assert part.module[0].weight.data_ptr() == part.weights["0.weight"].data_ptr()
    assert part.module[0].bias.dtype == torch.float32


def test_a_module_in_low_memory_lays_nothing_out(part):
    Memory(CPU, mode="low").load(part)
    assert not isinstance(part.module[0], PackedConv2d)


def test_releasing_frees_what_was_laid_out(part):
    memory = Memory(CPU)
    memory.load(part)
    part.module(torch.randn(1, 96, 4, 4))
    memory.unload_all()
    assert (type(part.module[0]), part.packed) == (nn.Conv2d, frozenset())


def test_patched_weights_are_computed_with_and_taken_off(part):
    memory, x = Memory(CPU), torch.randn(1, 96, 4, 4)
    memory.load(part)
    plain = part.module(x)
    change = WeightPatch(1.0, ("diff", (torch.full((96, 96, 3, 3), 0.01),)))
    memory.load(part, patches=PatchSet(by_key={"0.weight": [change]}))
    changed = part.module(x)
    memory.load(part)
    assert not torch.allclose(changed, plain, atol=1e-3)
    assert torch.equal(part.module(x), plain)
