"""Products of 8-bit numbers are near those of the numbers they stand for; what does not fit is computed as ever."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from executor.inference.casting import CastLinear, cast_leaves
from executor.inference.checkpoint import load_diffusion_model
from executor.inference.devices import Ways
from executor.inference.eight_bits import (
    EIGHT,
    LARGEST,
    LEAST_SCALE,
    EightBitLinear,
    casting_leaves,
    eight_bit_leaves,
    fits,
)
from executor.inference.memory import Memory
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint


def layer(into: int = 64, out: int = 48, *, bias: bool = True) -> EightBitLinear:
    """A layer of 8-bit weights."""
    made = nn.Sequential(nn.Linear(into, out, bias=bias)).requires_grad_(False)
    made[0].weight = nn.Parameter(made[0].weight.to(EIGHT), requires_grad=False)
    cast_leaves(made)
    eight_bit_leaves(made)
    return made[0]


def by_hand(x: Tensor, made: EightBitLinear) -> Tensor:
    """The same in float32, its input rounded as 8-bit numbers are."""
    scale = max(float(x.abs().max()) / LARGEST, LEAST_SCALE)
    rounded = (x.float() / scale).to(EIGHT).float() * scale
    answer = rounded @ made.weight.float().T
    return answer if made.bias is None else answer + made.bias


@pytest.mark.parametrize("size", [1e-4, 0.01, 1.0, 3000.0])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_product_is_that_of_rounded_numbers(dtype: torch.dtype, bias: bool, size: float):
    made, x = layer(bias=bias), (torch.randn(2, 5, 64) * size).to(dtype)
    found, wanted = made(x), by_hand(x, made)
    assert (found.dtype, found.shape) == (dtype, (2, 5, 48))
    error = (found.float() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
    assert error < 0.02  # numbers that lie between two 8-bit ones may go either way
    plain = CastLinear.forward(made, x).float()
    assert (found.float() - plain).square().mean().sqrt() / plain.square().mean().sqrt() < 0.06


def test_a_stored_scale_counts():
    made, x = layer(), torch.randn(3, 64).to(torch.bfloat16)
    made.weight_scale = 0.02
    found, plain = made(x).float(), CastLinear.forward(made, x).float()
    assert (found - plain).square().mean().sqrt() / plain.square().mean().sqrt() < 0.06
    made.weight_scale = None
    assert (found - made(x).float()).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_zeros_give_the_bias(dtype: torch.dtype):
    made = layer()
    found = made(torch.zeros(3, 64, dtype=dtype))
    torch.testing.assert_close(found.float(), made.bias.expand(3, -1), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("into", "out", "dtype"),
    [(63, 48, torch.bfloat16), (64, 47, torch.bfloat16), (64, 48, torch.float32)],
)
def test_what_does_not_fit_is_computed_as_ever(into: int, out: int, dtype: torch.dtype):
    made, x = layer(into, out), torch.randn(4, into).to(dtype)
    assert not fits(x, made.weight)
    assert torch.equal(made(x), CastLinear.forward(made, x))


def test_weights_of_more_bits_are_computed_as_ever():
    made, x = layer(), torch.randn(4, 64).bfloat16()
    made.weight = nn.Parameter(torch.randn(48, 64).half(), requires_grad=False)
    assert torch.equal(made(x), CastLinear.forward(made, x))


def test_layers_cast_again():
    made = nn.Sequential(layer())
    casting_leaves(made)
    assert type(made[0]) is CastLinear


@pytest.mark.parametrize(("kind", "fast"), [("fp8_e4m3fn_fast", True), ("fp8_e4m3fn", False), ("default", False)])
def test_loaders_ask_for_it_by_name(tiny_file, kind: str, fast: bool):
    model = load_diffusion_model(tiny_file, Memory(mode="cpu"), weight_dtype=kind)
    assert model.model.part.multiplies_eight_bits is fast
    model.load(torch.Size((1, 4, 8, 8)))
    assert not any(isinstance(leaf, EightBitLinear) for leaf in model.model.part.module.modules())  # none on a CPU


def test_a_network_by_8_bit_products_is_near(tmp_path, monkeypatch: pytest.MonkeyPatch):
    path = write_tiny_checkpoint(tmp_path / "wide.safetensors", TinySizes(widths=(32, 64)))
    answers = []
    for kind in ("fp8_e4m3fn", "fp8_e4m3fn_fast"):
        monkeypatch.setattr("executor.inference.memory.multiplies", lambda device: True)
        memory = Memory(mode="cpu", ways=Ways(diffusion=torch.bfloat16))
        model = load_diffusion_model(path, memory, weight_dtype=kind)
        x, text = torch.linspace(-1, 1, 256).reshape(1, 4, 8, 8), torch.linspace(-1, 1, 77 * 32).reshape(1, 77, 32)
        model.load(x.shape)
        kinds = {type(leaf) for leaf in model.model.part.module.modules()}
        assert (EightBitLinear in kinds) is kind.endswith("_fast")
        with torch.inference_mode():
            answers.append(model.model.apply(x, torch.tensor([3.0]), context=text))
        model.model.part.release()
        assert EightBitLinear not in {type(leaf) for leaf in model.model.part.module.modules()}
    plain, fast = answers
    assert 0 < float((fast - plain).square().mean().sqrt() / plain.square().mean().sqrt()) < 0.2
