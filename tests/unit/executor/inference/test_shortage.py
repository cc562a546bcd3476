"""Memory that runs out: once more with less, then an error with figures; whatever comes next runs."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from executor.errors import OutOfMemory
from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.devices import CPU
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.shortage import attempt

NO_ROOM = "CUDA out of memory. Tried to allocate 20.00 MiB."


class Scarce:
    """A function that finds no memory at some of its calls."""

    def __init__(self, function: Callable[..., object], fails: Callable[[int], bool]) -> None:
        self.function, self.fails, self.calls = function, fails, 0

    def __call__(self, *given: object, **options: object) -> object:
        self.calls += 1
        if self.fails(self.calls):
            raise torch.OutOfMemoryError(NO_ROOM)
        return self.function(*given, **options)


def drawn(checkpoint: Checkpoint) -> Tensor:
    """A small picture's latents."""
    conditioning = checkpoint.clip.encode("a cat")
    return sample(
        checkpoint.model,
        {"samples": torch.zeros(1, 4, 8, 8)},
        seed=1,
        steps=3,
        cfg=2.0,
        sampler_name="euler_ancestral",
        scheduler="normal",
        positive=conditioning,
        negative=conditioning,
    )


def starve(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, fails: Callable[[int], bool]) -> Scarce:
    """Let a method find no memory at some calls."""
    scarce = Scarce(getattr(owner, name), fails)
    monkeypatch.setattr(owner, name, scarce)
    return scarce


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_sampling_that_finds_no_memory_begins_anew_and_ends_alike(tiny: Checkpoint, monkeypatch, call: int):
    whole = drawn(tiny)
    starve(monkeypatch, tiny.model.model, "apply", lambda number: number == call)
    assert torch.equal(drawn(tiny), whole)
    assert tiny.model.model.part.resident_bytes() == 0  # it went on from the file


@pytest.mark.parametrize("call", [1, 5, 20])
def test_weights_that_find_no_memory_are_used_from_the_file(tiny_file: Path, monkeypatch, call: int):
    whole = drawn(load_checkpoint(tiny_file, Memory(mode="cpu")))
    tiny = load_checkpoint(tiny_file, Memory(mode="cpu"))
    starve(monkeypatch, tiny.model.model.part, "placed", lambda number: number == call)
    assert torch.equal(drawn(tiny), whole)


def test_what_never_fits_ends_with_figures_and_leaves_nothing_behind(tiny: Checkpoint, monkeypatch):
    starve(monkeypatch, tiny.model.model, "apply", lambda number: True)
    with pytest.raises(OutOfMemory) as failure:
        drawn(tiny)
    told = str(failure.value)
    assert "out of memory, also with weights left in the file" in told
    assert "MiB to work in" in told
    assert "MiB are free on cpu" in told
    assert "resident: " in told
    assert NO_ROOM in told
    assert list(tiny.model.memory.resident()) == []


def test_the_next_sampling_runs(tiny: Checkpoint, monkeypatch):
    whole = drawn(tiny)
    with monkeypatch.context() as short:
        starve(short, tiny.model.model, "apply", lambda number: True)
        with pytest.raises(OutOfMemory):
            drawn(tiny)
    assert torch.equal(drawn(tiny), whole)
    assert tiny.model.model.part.resident_bytes() > 0  # with its weights where they are fast


def test_another_error_is_not_tried_again(tiny: Checkpoint):
    calls = []

    def fail() -> None:
        calls.append(1)
        raise ValueError("a wrong number")

    with pytest.raises(ValueError, match="a wrong number"):
        attempt(tiny.model.memory, fail)
    assert len(calls) == 1


def test_tensors_of_the_failed_run_are_let_go_before_the_second(tiny: Checkpoint):
    held: list[weakref.ref[Tensor]] = []

    def run() -> bool:
        if held:
            return held[0]() is None
        large = torch.zeros(1000)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError(NO_ROOM)

    assert attempt(tiny.model.memory, run)


def test_a_picture_that_finds_no_memory_is_decoded_in_tiles(tiny: Checkpoint, monkeypatch):
    latents = torch.randn(1, 4, 20, 20)
    tiled = tiny.vae.decode_tiled(latents)
    starve(monkeypatch, tiny.vae.part.module, "decode", lambda number: number == 1)
    assert torch.equal(tiny.vae.decode(latents), tiled)


def test_a_picture_that_finds_no_memory_is_encoded_in_tiles(tiny: Checkpoint, monkeypatch):
    pixels = torch.rand(1, 64, 64, 3)
    tiled = tiny.vae.encode_tiled(pixels)
    starve(monkeypatch, tiny.vae.part.module, "encode", lambda number: number == 1)
    assert torch.equal(tiny.vae.encode(pixels), tiled)


def test_tiles_that_find_no_memory_end_with_figures(tiny: Checkpoint, monkeypatch):
    starve(monkeypatch, tiny.vae.part.module, "decode", lambda number: True)
    with pytest.raises(OutOfMemory, match=r"needs .* MiB and .* MiB to work in"):
        tiny.vae.decode(torch.randn(1, 4, 8, 8))


def test_a_text_that_finds_no_memory_is_encoded_once_more(tiny: Checkpoint, monkeypatch):
    [[whole, _]] = tiny.clip.encode("a cat")
    starve(monkeypatch, tiny.clip.encoders[0], "encode", lambda number: number == 1)
    [[again, _]] = tiny.clip.encode("a cat")
    assert torch.equal(again, whole)


def test_switching_between_three_models_does_not_grow(tiny_file: Path, monkeypatch):
    small = Memory(CPU)
    models = [load_checkpoint(tiny_file, small) for _ in range(3)]
    one = models[0].model.model.part.nbytes(torch.float32)
    monkeypatch.setattr(small, "free", lambda: int(one * 1.5) - resident(small))
    seen = set()
    for number in range(30):
        models[number % 3].model.load(torch.Size((1, 4, 1, 1)))
        seen.add((resident(small), sum(1 for _ in small.resident())))
    assert seen == {(one, 1)}
    assert small.evictions == 29


def test_models_that_nobody_holds_leave_nothing(tiny_file: Path):
    memory = Memory(CPU)
    refs = []
    for _ in range(3):
        checkpoint = load_checkpoint(tiny_file, memory)
        drawn(checkpoint)
        refs += [weakref.ref(part.module) for part in memory.resident()]
        del checkpoint
    gc.collect()
    assert refs
    assert [ref() for ref in refs if ref() is not None] == []
    assert resident(memory) == 0


def resident(memory: Memory) -> int:
    """Bytes of copies."""
    return sum(part.resident_bytes() for part in memory.resident())
