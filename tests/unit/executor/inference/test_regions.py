"""Compiled layers: when they are asked for, taken in and given up, and that prompts go on meanwhile.

What stands for a compiler here computes a region by the copy of its layer that it was given.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from executor.inference.checkpoint import Checkpoint
from executor.inference.devices import Ways
from executor.inference.handle import ModelHandle
from executor.inference.recordings import Recorder, Recordings
from executor.inference.regions import MOST_FAILURES, Code, Places, Region, Regions
from executor.inference.sample import sample
from executor.inference.unet_layers import BasicTransformerBlock, CrossAttention, Joined, ResBlock


class Compiler:
    """Makes code when it may; counts what it made and what its code was called for."""

    def __init__(self) -> None:
        self.may_begin = threading.Event()
        self.may_begin.set()
        self.failure: Exception | None = None
        self.broken: Exception | None = None
        self.asked: list[Region] = []
        self.calls = 0

    def __call__(self, region: Region) -> Code:
        assert self.may_begin.wait(60)
        self.asked.append(region)
        if self.failure is not None:
            raise self.failure
        places, count = Places(region.layer), len(region.weights)

        def code(*tensors: Tensor) -> Sequence[Tensor]:
            self.calls += 1
            if self.broken is not None:
                raise self.broken
            places.fill(tensors[:count])
            rest = iter(tensors[count:])
            return [region.layer(*(None if form is None else next(rest) for form in region.given), {})]

        return code


@pytest.fixture
def compiler() -> Compiler:
    return Compiler()


@pytest.fixture
def regions(compiler: Compiler) -> Regions:
    return Regions(compiler)


def block(width: int = 8) -> BasicTransformerBlock:
    return BasicTransformerBlock(width, 6, 2).requires_grad_(False)


def tokens(count: int = 5, width: int = 8) -> Tensor:
    return torch.linspace(-1, 1, 2 * count * width).reshape(2, count, width)


TEXT = torch.linspace(-1, 1, 2 * 3 * 6).reshape(2, 3, 6)


def waited(regions: Regions) -> None:
    """Wait until nothing is being made."""
    with regions.changed:
        assert regions.changed.wait_for(lambda: not regions.left, 60)


def settled(regions: Regions) -> None:
    """Wait until nothing is being made, then begin a sampling."""
    waited(regions)
    regions.begin()


def test_a_layer_computes_as_ever_until_its_code_is_taken_in(regions: Regions, compiler: Compiler):
    layer = block()
    plain = layer(tokens(), TEXT, {})
    assert torch.equal(regions.run(layer, tokens(), TEXT, {}), plain)
    assert compiler.calls == 0
    settled(regions)
    assert torch.equal(regions.run(layer, tokens(), TEXT, {}), plain)
    assert compiler.calls == 1


def test_code_is_not_taken_in_within_a_sampling(regions: Regions, compiler: Compiler):
    layer = block()
    regions.run(layer, tokens(), TEXT, {})
    waited(regions)
    regions.run(layer, tokens(), TEXT, {})
    assert (compiler.calls, regions.generation) == (0, 0)


def test_calls_do_not_wait_for_a_compiler_that_works(regions: Regions, compiler: Compiler):
    compiler.may_begin.clear()
    layer = block()
    plain = layer(tokens(), TEXT, {})
    for _ in range(3):
        regions.begin()
        assert torch.equal(regions.run(layer, tokens(), TEXT, {}), plain)
    assert compiler.asked == []
    compiler.may_begin.set()
    settled(regions)
    regions.run(layer, tokens(), TEXT, {})
    assert (len(compiler.asked), compiler.calls) == (1, 1)


def test_all_that_is_asked_for_is_taken_in_at_once(regions: Regions, compiler: Compiler):
    regions.run(block(), tokens(), TEXT, {})
    waited(regions)
    compiler.may_begin.clear()
    regions.run(block(), tokens(7), TEXT, {})
    regions.begin()
    assert regions.generation == 0
    compiler.may_begin.set()
    settled(regions)
    assert regions.generation == 1


def test_equal_layers_share_their_code_and_keep_their_weights(regions: Regions, compiler: Compiler):
    first, second = block(), block()
    plain = [layer(tokens(), TEXT, {}) for layer in (first, second)]
    assert not torch.equal(*plain)
    regions.run(first, tokens(), TEXT, {})
    settled(regions)
    for layer, other in zip((first, second), plain, strict=True):
        assert torch.equal(regions.run(layer, tokens(), TEXT, {}), other)
    assert (len(compiler.asked), compiler.calls) == (1, 2)


def test_weights_that_change_are_those_that_compute(regions: Regions, compiler: Compiler):
    layer = block()
    regions.run(layer, tokens(), TEXT, {})
    settled(regions)
    layer.ff.net[2].weight = nn.Parameter(layer.ff.net[2].weight * 2, requires_grad=False)
    plain = layer(tokens(), TEXT, {})
    assert torch.equal(regions.of(1).run(layer, tokens(), TEXT, {}), plain)
    assert (len(compiler.asked), compiler.calls) == (1, 1)


def test_weights_of_another_type_are_another_region(regions: Regions, compiler: Compiler):
    layer = block()
    regions.run(layer, tokens(), TEXT, {})
    layer.double()
    answer = regions.of(1).run(layer, tokens().double(), TEXT.double(), {})
    settled(regions)
    assert answer.dtype == torch.float64
    assert [{weight[2] for weight in each.weights} for each in compiler.asked] == [{torch.float32}, {torch.float64}]


def lone_attention(layer: BasicTransformerBlock) -> BasicTransformerBlock:
    return BasicTransformerBlock(8, 8, 2, own=False).requires_grad_(False)


def more_heads(layer: BasicTransformerBlock) -> BasicTransformerBlock:
    return BasicTransformerBlock(8, 8, 4).requires_grad_(False)


@pytest.mark.parametrize("other", [lone_attention, more_heads])
def test_layers_of_equal_weights_that_compute_otherwise_are_regions_apart(
    regions: Regions, compiler: Compiler, other: Callable[[BasicTransformerBlock], BasicTransformerBlock]
):
    first = BasicTransformerBlock(8, 8, 2).requires_grad_(False)
    second = other(first)
    text = torch.cat([TEXT, TEXT[..., :2]], dim=-1)
    for layer in (first, second):
        regions.run(layer, tokens(), text, {})
    settled(regions)
    assert len(compiler.asked) == 2
    for layer in (first, second):
        assert torch.equal(regions.run(layer, tokens(), text, {}), layer(tokens(), text, {}))


def test_joined_projections_go_with_the_call(regions: Regions, compiler: Compiler):
    layer = block()
    attention: CrossAttention = layer.attn1
    whole = torch.cat([part.weight for part in (attention.to_q, attention.to_k, attention.to_v)])
    query, key, value = (nn.Parameter(part, requires_grad=False) for part in whole.chunk(3))
    attention.to_q.weight, attention.to_k.weight, attention.to_v.weight = query, key, value
    attention.joined = Joined(whole, (query, key, value))
    plain = layer(tokens(), TEXT, {})
    regions.run(layer, tokens(), TEXT, {})
    settled(regions)
    assert torch.equal(regions.run(layer, tokens(), TEXT, {}), plain)
    assert compiler.asked[0].weights[-1][0] == (24, 8)


def test_what_a_compiler_gets_holds_no_numbers(regions: Regions, compiler: Compiler):
    regions.run(block(), tokens(), TEXT, {})
    settled(regions)
    assert {weight.device.type for weight in compiler.asked[0].layer.parameters()} == {"meta"}


def test_a_region_that_cannot_be_compiled_is_told_once_and_computed(
    regions: Regions, compiler: Compiler, caplog: pytest.LogCaptureFixture
):
    compiler.failure = RuntimeError("no header\nmore")
    layer = block()
    plain = layer(tokens(), TEXT, {})
    for _ in range(3):
        assert torch.equal(regions.run(layer, tokens(), TEXT, {}), plain)
        settled(regions)
    assert len(compiler.asked) == 1
    assert [record.message for record in caplog.records] == [
        "a BasicTransformerBlock is not compiled but computed as ever: no header"
    ]


def test_after_some_failures_and_no_success_nothing_more_is_asked_for(regions: Regions, compiler: Compiler):
    compiler.failure = RuntimeError("no compiler")
    for count in range(1, MOST_FAILURES + 3):
        regions.run(block(), tokens(count), TEXT, {})
        settled(regions)
    assert len(compiler.asked) == MOST_FAILURES


def test_code_that_fails_is_told_once_and_left(regions: Regions, compiler: Compiler, caplog: pytest.LogCaptureFixture):
    layer = block()
    plain = layer(tokens(), TEXT, {})
    regions.run(layer, tokens(), TEXT, {})
    settled(regions)
    compiler.broken = AssertionError("expected size 3")
    for _ in range(2):
        assert torch.equal(regions.run(layer, tokens(), TEXT, {}), plain)
    assert (compiler.calls, regions.generation) == (1, 2)
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "a BasicTransformerBlock is not compiled but computed as ever: expected size 3"
    ]


def test_memory_that_runs_out_is_no_fault_of_the_code(regions: Regions, compiler: Compiler):
    layer = block()
    regions.run(layer, tokens(), TEXT, {})
    settled(regions)
    compiler.broken = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        regions.run(layer, tokens(), TEXT, {})
    compiler.broken = None
    regions.run(layer, tokens(), TEXT, {})
    assert compiler.calls == 2


class Others(nn.Linear):
    """Somebody's layer."""


def test_layers_of_others_are_left_alone(regions: Regions, compiler: Compiler):
    layer = ResBlock(4, 4, 6).requires_grad_(False)
    layer.emb_layers[1] = Others(6, 4)
    x, embedding = torch.ones(2, 4, 3, 3), torch.ones(2, 6)
    assert torch.equal(regions.run(layer, x, embedding, {}), layer(x, embedding, {}))
    assert regions.left == 0


# ---------------------------------------------------------------- through a MODEL


@pytest.fixture
def compiling(tiny: Checkpoint, regions: Regions, monkeypatch: pytest.MonkeyPatch) -> ModelHandle:
    monkeypatch.setattr(tiny.model.memory, "regions", lambda: regions)
    return tiny.model


def drawn(model: ModelHandle, side: int = 8) -> Tensor:
    text = torch.linspace(-1, 1, 77 * 32).reshape(1, 77, 32)
    settings: Any = {"seed": 1, "steps": 3, "sampler_name": "euler", "scheduler": "karras"}
    latent: Any = {"samples": torch.zeros(1, 4, side, side)}
    return sample(model, latent, cfg=3.0, positive=[[text, {}]], negative=[[-text, {}]], **settings)


def test_prompts_are_served_while_the_compiler_works_and_by_its_code_afterwards(
    compiling: ModelHandle, regions: Regions, compiler: Compiler
):
    compiler.may_begin.clear()
    plain = drawn(compiling)
    assert torch.equal(drawn(compiling), plain)
    assert compiler.calls == 0
    compiler.may_begin.set()
    settled(regions)
    assert torch.equal(drawn(compiling), plain)
    assert compiler.calls > 0
    kinds = {type(region.layer) for region in compiler.asked}
    assert BasicTransformerBlock in kinds


def test_a_lora_meets_the_same_code(compiling: ModelHandle, regions: Regions, compiler: Compiler):
    other = compiling.clone()
    name = next(name for name in other.named_weights() if name.endswith("attn1.to_q.weight"))
    other.add_patches({name: (torch.ones(other.named_weights()[name].shape),)})
    plain, changed = drawn(compiling), drawn(other)
    settled(regions)
    asked = len(compiler.asked)
    assert torch.equal(drawn(other), changed)
    assert torch.equal(drawn(compiling), plain)
    assert not torch.equal(plain, changed)
    assert (len(compiler.asked), compiler.calls > 0) == (asked, True)


def test_a_released_network_meets_the_same_code(compiling: ModelHandle, regions: Regions, compiler: Compiler):
    plain = drawn(compiling)
    settled(regions)
    compiling.model.part.release()
    asked = len(compiler.asked)
    assert torch.equal(drawn(compiling), plain)
    settled(regions)
    assert len(compiler.asked) == asked


def test_functions_of_packs_are_met_by_the_layers_themselves(compiling: ModelHandle, regions: Regions):
    model = compiling.clone()
    seen: list[str] = []

    def patch(q: Tensor, k: Tensor, v: Tensor, options: object) -> tuple[Tensor, Tensor, Tensor]:
        seen.append("attn1")
        return q, k, v

    model.set_model_attn1_patch(patch)
    drawn(model)
    assert seen
    assert regions.left == 0
    assert regions.generation == 0


def test_recordings_are_made_anew_with_the_code(compiling: ModelHandle, regions: Regions, compiler: Compiler):
    compiler.may_begin.clear()
    drawn(compiling)
    cleared: list[int] = []

    class Kept(Recordings):
        def clear(self) -> None:
            cleared.append(regions.generation)

    kept = Kept(cast(Recorder, None))
    kept.is_given_up = True
    compiling.model.part.recordings = kept
    drawn(compiling)
    assert cleared == []
    compiler.may_begin.set()
    waited(regions)
    drawn(compiling)
    drawn(compiling)
    assert cleared == [1]


def test_nothing_is_compiled_unless_asked(tiny: Checkpoint):
    drawn(tiny.model)
    assert tiny.model.memory.ways == Ways()
    assert tiny.model.memory.regions() is None
