"""Small changes survive in 8 bits, and numbers that 8 bits hold stay."""

import pytest
import torch

from executor.inference import rounding
from executor.inference.adapters import Difference
from executor.inference.patching import PatchSet, WeightPatch
from executor.inference.rounding import rounded

TYPES = [torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", TYPES)
def test_what_a_type_holds_stays(dtype):
    every = torch.arange(256, dtype=torch.uint8).view(dtype).float()
    finite = every[every.isfinite()]
    assert torch.equal(rounded(finite, dtype, "a").float(), finite)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("value", [0.3, -0.0123, 1e-3, 100.1])
def test_the_mean_of_many_is_the_value_between_its_neighbours(dtype, value):
    found = rounded(torch.full((100_000,), value), dtype, "a").float()
    assert len(found.unique()) <= 2
    assert float(found.mean()) == pytest.approx(value, rel=5e-3)


def test_what_is_beyond_the_range_becomes_the_largest():
    assert rounded(torch.tensor([1e9, -1e9]), torch.float8_e4m3fn, "a").float().tolist() == [448.0, -448.0]


def test_a_name_is_rounded_the_same_way_each_time():
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    first, again, other = (rounded(weight, torch.float8_e4m3fn, name).float() for name in ("a", "a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_weight_of_many_parts_keeps_its_values_and_its_layout(monkeypatch):
    monkeypatch.setattr(rounding, "PART", 7)
    held = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0)).to(torch.float8_e4m3fn).float()
    found = rounded(held.contiguous(memory_format=torch.channels_last), torch.float8_e4m3fn, "a")
    assert torch.equal(found.float(), held)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_types_of_more_bits_take_the_nearest():
    weight = torch.randn(64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rounded(weight, torch.float16, "a"), weight.half())


def test_a_change_far_below_a_step_of_8_bits_counts_in_full():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(512, 512, generator=generator).to(torch.float8_e4m3fn)
    delta = torch.randn(512, 1, generator=generator) @ torch.randn(1, 512, generator=generator) * 0.01
    patches = PatchSet(by_key={"k": [WeightPatch(1.0, Difference(delta))]})
    change = patches.applied("k", weight).float() - weight.float()
    assert float((change * delta).sum() / delta.square().sum()) == pytest.approx(1.0, abs=0.05)
