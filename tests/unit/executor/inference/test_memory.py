"""Weights placed, released and evicted; the pristine ones are never changed."""

import gc

import pytest
import torch
from torch import nn

from executor.inference.devices import CPU
from executor.inference.memory import MARGIN_BYTES, Memory, Part


def part_of(name: str, width: int = 4, role: str = "diffusion") -> Part[nn.Module]:
    """A module of one linear layer with half-precision weights from a 'file'."""
    module = nn.Linear(width, width)
    weights = {key: tensor.half() for key, tensor in module.state_dict().items()}
    part = Part(name, role, module, weights, {f"original.{key}": key for key in weights})
    part.release()
    return part


@pytest.fixture
def memory(monkeypatch):
    """A Memory that believes in 100 kB on the CPU, less what is placed in it."""
    memory = Memory(CPU)

    def free() -> int:
        return 10**5 - sum(part.resident_bytes() for part in memory.resident())

    monkeypatch.setattr(memory, "free", free)
    return memory


def test_loading_brings_weights_to_the_computing_type(memory):
    part = part_of("a")
    memory.load(part)
    assert part.module.weight.dtype == torch.float32


def test_loading_leaves_the_pristine_weights(memory):
    part = part_of("a")
    before = part.weights["weight"].clone()
    memory.load(part)
    part.module.weight.data.add_(1)
    assert torch.equal(part.weights["weight"], before)


def test_releasing_puts_the_very_tensors_of_the_file_back(memory):
    part = part_of("a")
    memory.load(part)
    part.release()
    assert part.module.weight.data_ptr() == part.weights["weight"].data_ptr()


def test_loading_twice_keeps_the_copies(memory):
    part = part_of("a")
    memory.load(part)
    first = part.module.weight
    memory.load(part)
    assert part.module.weight is first


def test_the_longest_unused_makes_room(memory):
    old, recent = part_of("old", 80), part_of("recent", 80)  # 26 kB each in float32
    for part in (old, recent, old):
        memory.load(part)
    memory.load(part_of("new", 120))  # 58 kB
    assert (recent.placement is None, old.placement is None) == (True, False)


def test_a_module_in_use_never_makes_room_for_itself(memory):
    part = part_of("a", 80)
    memory.load(part)
    memory.load(part, working_bytes=10**6)
    assert part.module.weight.dtype == torch.float32


def test_what_does_not_fit_is_used_from_the_file(memory):
    part = part_of("huge", 200)  # 160 kB in float32
    memory.load(part)
    assert (part.module.weight.data_ptr(), part.dtype) == (part.weights["weight"].data_ptr(), torch.float32)


def test_what_was_used_from_the_file_is_brought_in_once_it_fits(memory):
    part = part_of("a", 110)  # 49 kB
    memory.load(part, working_bytes=60000)
    streamed = part.resident_bytes() == 0
    memory.load(part)
    assert (streamed, part.module.weight.dtype) == (True, torch.float32)


def test_streamed_and_resident_weights_compute_the_same(memory):
    part, x = part_of("a"), torch.randn(3, 4)
    memory.load(part)
    resident = part.module(x)
    memory.unload_all()
    memory.mode = "low"
    memory.load(part)
    assert torch.equal(part.module(x), resident)


def test_dropped_modules_are_forgotten(memory):
    memory.load(part_of("a"))
    gc.collect()
    assert list(memory.resident()) == []


def test_unloading_releases_everything(memory):
    part = part_of("a")
    memory.load(part)
    memory.unload_all()
    assert (part.placement, list(memory.resident())) == (None, [])


def test_reserved_bytes_are_left_free():
    with_reserve, without = Memory(CPU, reserve_bytes=1 << 40), Memory(CPU)
    assert without.free() - with_reserve.free() > (1 << 40) - MARGIN_BYTES


def test_text_encoders_keep_the_type_of_the_file(memory):
    part = part_of("t", role="text")
    memory.load(part)
    assert (part.module.weight.dtype, part.resident_bytes()) == (torch.float16, 0)
