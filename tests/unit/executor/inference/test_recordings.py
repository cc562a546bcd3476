"""Calls of a network are recorded per shape, played back with what they are given, and void when weights change.

The recorder here plays a call back by making it again with the very tensors it was recorded with, as a device does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from executor.context import InterruptFlag, RunContext, entered
from executor.errors import Interrupted
from executor.inference.checkpoint import Checkpoint
from executor.inference.denoiser import discrete_v
from executor.inference.devices import Ways
from executor.inference.freeu import FreeU, FreeUV2
from executor.inference.handle import ModelHandle
from executor.inference.memory import Memory
from executor.inference.recordings import MOST_RECORDINGS, PLAIN_CALLS, Recordings, form_of, refilled
from executor.inference.sample import sample


@dataclass
class Tape:
    """Plays calls back on the host."""

    failure: Exception | None = None
    recorded: int = 0
    played: int = 0
    forgotten: int = 0
    settled: int = 0

    def record(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        if self.failure is not None:
            raise self.failure
        self.recorded += 1
        answer = torch.full_like(run(), torch.nan)  # nothing is computed while it is recorded

        def play() -> None:
            self.played += 1
            answer.copy_(run())

        return play, answer

    def held_bytes(self) -> int:
        return 1000

    def settle(self) -> None:
        self.settled += 1

    def forget(self) -> None:
        self.forgotten += 1


@dataclass
class Network:
    """Counts its calls."""

    calls: int = 0
    seen: list[Any] = field(default_factory=list)

    def __call__(self, x: Tensor, by: int = 1, more: Any = None) -> Tensor:
        self.calls += 1
        return x * by if more is None else x * by + more["added"][0]


def called(recordings: Recordings, network: Network, times: int, **given: Any) -> list[Tensor]:
    return [recordings.call(network, given) for _ in range(times)]


def test_the_first_calls_of_a_shape_are_plain():
    tape, network = Tape(), Network()
    called(Recordings(tape), network, PLAIN_CALLS, x=torch.ones(2))
    assert (tape.recorded, network.calls) == (0, PLAIN_CALLS)


def test_a_played_call_answers_for_what_it_is_given():
    tape, network = Tape(), Network()
    recordings = Recordings(tape)
    for number in range(6):
        x, added = torch.full((2, 3), float(number)), torch.arange(3.0) * number
        assert torch.equal(recordings.call(network, {"x": x, "more": {"added": [added]}}), x + added)
    assert (tape.recorded, tape.played) == (1, 6 - PLAIN_CALLS)


def test_an_answer_is_the_callers_own():
    recordings, network = Recordings(Tape()), Network()
    called(recordings, network, PLAIN_CALLS, x=torch.ones(2))
    first = recordings.call(network, {"x": torch.ones(2)})
    recordings.call(network, {"x": torch.zeros(2)})
    assert first.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "other",
    [
        {"x": torch.ones(3)},
        {"x": torch.ones(2).half()},
        {"x": torch.ones(2), "by": 2},
        {"x": torch.ones(4)[::2]},
        {"x": torch.ones(2), "more": {"added": [torch.ones(2)]}},
    ],
    ids=["shape", "type", "number", "strides", "structure"],
)
def test_calls_of_other_forms_have_recordings_of_their_own(other: dict[str, Any]):
    tape, network = Tape(), Network()
    recordings = Recordings(tape)
    called(recordings, network, PLAIN_CALLS + 1, x=torch.ones(2))
    answers = called(recordings, network, PLAIN_CALLS + 1, **other)
    assert (tape.recorded, len(recordings)) == (2, 2)
    assert torch.equal(answers[-1], Network()(**other))


def test_numbers_on_the_host_are_not_recorded():
    tape, network = Tape(), Network()
    answers = called(Recordings(tape), network, 5, x=torch.ones(2), more={"added": [torch.tensor(2.0)]})
    assert tape.recorded == 0
    assert answers[-1].tolist() == [3.0, 3.0]


def test_the_longest_unused_recording_goes():
    tape, network = Tape(), Network()
    recordings = Recordings(tape)
    for size in range(1, MOST_RECORDINGS + 3):
        called(recordings, network, PLAIN_CALLS + 1, x=torch.ones(size))
    assert len(recordings) == MOST_RECORDINGS
    assert tape.settled == 2
    recorded = tape.recorded
    called(recordings, network, 1, x=torch.ones(MOST_RECORDINGS))
    assert tape.recorded == recorded
    called(recordings, network, 1, x=torch.ones(1))
    assert tape.recorded == recorded + 1


def test_what_cannot_be_recorded_is_told_once_and_computed(caplog: pytest.LogCaptureFixture):
    recordings, network = Recordings(Tape(RuntimeError("operation not permitted\nmore"))), Network()
    answers = called(recordings, network, 8, x=torch.ones(2)) + called(recordings, network, 8, x=torch.ones(3))
    assert all(torch.equal(each, torch.ones_like(each)) for each in answers)
    assert network.calls == 16
    assert [record.message for record in caplog.records] == [
        "this network's calls are not recorded as a CUDA graph but made one by one: operation not permitted"
    ]


def test_memory_that_ran_out_refuses_one_size_until_weights_change():
    tape, network = Tape(torch.OutOfMemoryError("CUDA out of memory")), Network()
    recordings = Recordings(tape)
    called(recordings, network, 6, x=torch.ones(2))
    tape.failure = None
    called(recordings, network, 6, x=torch.ones(2))
    assert tape.recorded == 0
    called(recordings, network, PLAIN_CALLS + 1, x=torch.ones(3))
    assert tape.recorded == 1
    recordings.clear()
    called(recordings, network, PLAIN_CALLS + 1, x=torch.ones(2))
    assert tape.recorded == 2


def test_an_interrupt_while_recording_is_no_failure():
    tape, network = Tape(Interrupted("stopped")), Network()
    recordings = Recordings(tape)
    called(recordings, network, PLAIN_CALLS, x=torch.ones(2))
    with pytest.raises(Interrupted):
        called(recordings, network, 1, x=torch.ones(2))
    tape.failure = None
    called(recordings, network, 1, x=torch.ones(2))
    assert tape.recorded == 1


def test_cleared_recordings_give_their_memory_back():
    tape, network = Tape(), Network()
    recordings = Recordings(tape)
    called(recordings, network, PLAIN_CALLS + 1, x=torch.ones(2))
    assert recordings.held_bytes() == 1000
    recordings.clear()
    assert (recordings.held_bytes(), tape.settled, tape.forgotten) == (0, 1, 1)


def test_a_form_is_filled_with_other_tensors():
    given = {"a": [torch.ones(1), None, 3], "b": {"c": torch.ones(2)}}
    tensors: list[Tensor] = []
    form_of(given, tensors)
    assert [each.shape for each in tensors] == [(1,), (2,)]
    filled = refilled(given, iter([torch.zeros(1), torch.zeros(2)]))
    assert filled["a"][0].tolist() == [0.0]
    assert filled["a"][1:] == [None, 3]
    assert filled["b"]["c"].tolist() == [0.0, 0.0]


# ---------------------------------------------------------------- through a MODEL


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    """Calls are recorded on this machine too."""
    made = Tape()
    monkeypatch.setattr("executor.inference.memory.recorder_on", lambda device: made)
    return made


def drawn(model: ModelHandle, side: int = 8, cfg: float = 3.0) -> Tensor:
    text = torch.linspace(-1, 1, 77 * 32).reshape(1, 77, 32)
    settings: Any = {"seed": 1, "steps": 5, "sampler_name": "euler", "scheduler": "karras"}
    latent: Any = {"samples": torch.zeros(1, 4, side, side)}
    return sample(model, latent, cfg=cfg, positive=[[text, {}]], negative=[[-text, {}]], **settings)


def test_a_sampling_from_recordings_is_the_same(tiny: Checkpoint, tape: Tape):
    tiny.model.memory.ways = Ways(records=False)
    plain = drawn(tiny.model)
    tiny.model.model.part.release()
    tiny.model.memory.ways = Ways()
    assert torch.equal(drawn(tiny.model), plain)
    assert (tape.recorded, tape.played) == (1, 3)
    assert torch.equal(drawn(tiny.model), plain)
    assert (tape.recorded, tape.played) == (1, 8)


def test_nothing_is_recorded_where_no_device_can(tiny: Checkpoint):
    drawn(tiny.model)
    assert tiny.model.model.part.recordings is None


def test_recordings_may_be_switched_off(tiny: Checkpoint, tape: Tape):
    tiny.model.memory.ways = Ways(records=False)
    drawn(tiny.model)
    assert tape.recorded == 0


def counting(model: ModelHandle) -> None:
    model.model_options["model_function_wrapper"] = lambda apply, given: apply(
        given["input"], given["timestep"], **given["c"]
    )


def patched(model: ModelHandle) -> None:
    model.set_model_attn1_patch(lambda q, k, v, options: (q, k, v))


def hooked(model: ModelHandle) -> None:
    model.model.part.module.time_embed[0].register_forward_hook(lambda *_: None)


def replaced(model: ModelHandle) -> None:
    layer = model.model.part.module.time_embed[0]
    layer.forward = type(layer).forward.__get__(layer)


def swapped(model: ModelHandle) -> None:
    model.add_object_patch("diffusion_model.time_embed", model.model.part.module.time_embed)


@pytest.mark.parametrize("change", [counting, patched, hooked, replaced, swapped])
def test_what_runs_code_of_packs_is_not_recorded(tiny: Checkpoint, tape: Tape, change: Callable[[ModelHandle], None]):
    model = tiny.model.clone()
    change(model)
    drawn(model)
    assert tape.recorded == 0


def freed(tiny: Checkpoint, kind: type[FreeU], strength: float, skip: float) -> ModelHandle:
    model = tiny.model.clone()
    width: int = model.model.diffusion_model.model_channels // 2  # the first maps are twice as wide as that
    model.set_model_output_block_patch(kind(width, (strength, strength), (skip, skip)))
    return model


def test_freeu_is_recorded_by_its_numbers(tiny: Checkpoint, tape: Tape):
    models = [tiny.model, freed(tiny, FreeU, 1.3, 0.2), freed(tiny, FreeU, 1.5, 0.2), freed(tiny, FreeUV2, 1.3, 0.2)]
    tiny.model.memory.ways = Ways(records=False)
    plain = [drawn(model) for model in models]
    assert not any(torch.equal(one, other) for one, other in pairwise(plain))
    tiny.model.memory.ways = Ways()
    for _ in range(2):
        assert all(torch.equal(drawn(model), wanted) for model, wanted in zip(models, plain, strict=True))
    assert (tape.recorded, tape.played) == (4, 4 * (3 + 5))


def test_freeu_beside_a_function_of_a_pack_is_not_recorded(tiny: Checkpoint, tape: Tape):
    model = freed(tiny, FreeU, 1.3, 0.2)
    model.set_model_output_block_patch(lambda x, skip, options: (x, skip))
    drawn(model)
    other = freed(tiny, FreeU, 1.3, 0.2)
    patched(other)
    drawn(other)
    assert tape.recorded == 0


def test_another_sampling_is_recorded_all_the_same(tiny: Checkpoint, tape: Tape):
    model = tiny.model.clone()
    model.add_object_patch("model_sampling", discrete_v())
    drawn(model)
    assert tape.recorded == 1


def test_recordings_come_for_a_network_that_was_loaded_without(tiny: Checkpoint, tape: Tape):
    tiny.model.memory.ways = Ways(records=False)
    drawn(tiny.model)
    tiny.model.memory.ways = Ways()
    drawn(tiny.model)
    assert tape.recorded == 1
    tiny.model.memory.ways = Ways(records=False)
    played = tape.played
    drawn(tiny.model)
    assert tape.played == played


def test_a_patch_voids_recordings(tiny: Checkpoint, tape: Tape):
    drawn(tiny.model)
    other = tiny.model.clone()
    name = next(name for name in other.named_weights() if name.endswith("time_embed.0.weight"))
    other.add_patches({name: (torch.ones(other.named_weights()[name].shape),)})
    changed = drawn(other)
    assert tape.recorded == 2
    assert not torch.equal(changed, drawn(tiny.model))
    assert tape.recorded == 3


def test_release_voids_recordings(tiny: Checkpoint, tape: Tape):
    drawn(tiny.model)
    recordings = tiny.model.model.part.recordings
    assert recordings is not None
    assert len(recordings) == 1
    tiny.model.model.part.release()
    assert len(recordings) == 0


def test_recorded_memory_is_not_free(tiny: Checkpoint, tape: Tape, monkeypatch: pytest.MonkeyPatch):
    drawn(tiny.model)
    monkeypatch.setattr("executor.inference.memory.free_bytes", lambda device: 10**9)
    before = tiny.model.memory.free()
    recordings = tiny.model.model.part.recordings
    assert recordings is not None
    recordings.clear()
    assert tiny.model.memory.free() == before + 1000


def test_recordings_make_room_before_models_do(tiny: Checkpoint, tape: Tape, monkeypatch: pytest.MonkeyPatch):
    memory: Memory = tiny.model.memory
    drawn(tiny.model)
    recordings = tiny.model.model.part.recordings
    assert recordings is not None
    monkeypatch.setattr(
        Memory, "free", lambda self: 10 - recordings.held_bytes() // 100
    )  # fmt: skip
    assert memory.evict(5)
    assert (len(recordings), tiny.model.model.part.placement is not None) == (0, True)


def test_recordings_of_what_samples_stay_while_others_can_go(
    tiny: Checkpoint, tape: Tape, monkeypatch: pytest.MonkeyPatch
):
    drawn(tiny.model)
    memory, part = tiny.model.memory, tiny.model.model.part
    assert part.recordings is not None
    tiny.vae.decode(torch.zeros(1, 4, 8, 8))
    monkeypatch.setattr(Memory, "free", lambda self: 0 if tiny.vae.part.placement is not None else 10)
    with memory.keeping([part]):
        assert memory.evict(5)
    assert (len(part.recordings), tiny.vae.part.placement) == (1, None)


def test_asking_for_nothing_drops_nothing(tiny: Checkpoint, tape: Tape, monkeypatch: pytest.MonkeyPatch):
    drawn(tiny.model)
    monkeypatch.setattr(Memory, "free", lambda self: -1)
    tiny.model.memory.evict(0, spare=tiny.model.model.part)
    assert tiny.model.model.part.recordings is not None
    assert len(tiny.model.model.part.recordings) == 1


def test_an_interrupt_reaches_a_recorded_sampling(tiny: Checkpoint, tape: Tape):
    drawn(tiny.model)
    flag = InterruptFlag()
    flag.set()
    with pytest.raises(Interrupted), entered(RunContext(interrupt=flag)):
        drawn(tiny.model)
