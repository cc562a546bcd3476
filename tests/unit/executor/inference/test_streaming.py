"""Layers' weights are sent for one ahead, two at most are over, and afterwards nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from executor.inference.casting import cast_leaves
from executor.inference.checkpoint import Checkpoint
from executor.inference.handle import ModelHandle
from executor.inference.streaming import CudaCarrier, Hold, Stream

TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]


class Porter:
    """Copies at once and keeps a book of it."""

    def __init__(self) -> None:
        self.book: list[tuple[str, float]] = []
        self.kept = self.over = 0

    def send(self, weights: Mapping[str, Tensor], beside: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        self.book.append(("send", mark(weights)))
        return {name: weight.clone() for name, weight in weights.items()}

    def keep(self, weight: Tensor, before: Tensor | None = None) -> Tensor:
        self.kept += 1
        return weight

    def wait(self, weights: Mapping[str, Tensor]) -> None:
        self.book.append(("wait", mark(weights)))

    def done(self, weights: Mapping[str, Tensor]) -> None:
        self.over -= 1

    def close(self) -> None:
        self.book.append(("close", 0.0))


def mark(weights: Mapping[str, Tensor]) -> float:
    """The number that a layer of `network` is known by."""
    return float(weights["bias"][0])


def network(layers: int = 4, width: int = 8) -> nn.Sequential:
    """Linear layers whose first bias is their number, weights of half precision."""
    made = nn.Sequential(*(nn.Linear(width, width) for _ in range(layers))).half().requires_grad_(False)
    for number, layer in enumerate(made):
        layer.bias[0] = number
    cast_leaves(made)
    return made


def test_a_streamed_network_answers_as_before():
    made, x = network(), torch.randn(3, 8)
    plain = made(x)
    Stream(made, Porter())
    assert torch.equal(made(x), plain)
    assert torch.equal(made(x), plain)


def test_the_next_layer_is_sent_for_before_one_computes():
    made, porter = network(3), Porter()
    Stream(made, porter)
    for _ in range(2):  # the order is learned by the first
        made(torch.randn(1, 8))
    porter.book.clear()
    made(torch.randn(1, 8))
    assert porter.book == [("wait", 0), ("send", 1), ("wait", 1), ("send", 2), ("wait", 2), ("send", 0)]


def test_two_layers_at_most_are_over():
    made = network(5)
    stream = Stream(made, Porter())
    over: list[int] = []
    for layer in made:
        layer.register_forward_pre_hook(lambda *_: over.append(sum(s.sent is not None for s in stream.order)))
    for _ in range(3):
        made(torch.randn(1, 8))
    assert max(over) == 2


def test_layers_keep_their_own_weights():
    made = network()
    before = [layer.weight for layer in made]
    stream = Stream(made, Porter())
    made(torch.randn(1, 8))
    stream.close()
    assert all(layer.weight is own for layer, own in zip(made, before, strict=True))


def test_a_closed_stream_sends_no_more():
    made, porter = network(), Porter()
    stream = Stream(made, porter)
    stream.close()
    made(torch.randn(1, 8))
    assert porter.book == [("close", 0.0)]


def test_a_call_that_fails_leaves_the_weights():
    made = network()
    own = made[1].weight
    Stream(made, Porter())
    with pytest.raises(RuntimeError):
        made[1](torch.randn(1, 5))
    assert made[1].weight is own


def test_layers_called_out_of_order_still_answer():
    made, x = network(), torch.randn(2, 8)
    plain = [layer(x) for layer in made]
    Stream(made, Porter())
    made(x)
    for number in (2, 0, 3, 3, 1):
        assert torch.equal(made[number](x), plain[number])


def test_what_is_sent_from_is_made_once():
    made, porter = network(3), Porter()
    Stream(made, porter)
    for _ in range(4):
        made(torch.randn(1, 8))
    assert porter.kept == 2 * 3
    made[1].weight = nn.Parameter(torch.zeros(8, 8).half(), requires_grad=False)
    made(torch.randn(1, 8))
    made(torch.randn(1, 8))
    assert porter.kept == 2 * 3 + 1


def test_each_layer_is_done_with_what_it_was_sent():
    made, porter = network(3), Porter()
    Stream(made, porter)
    for _ in range(2):
        made(torch.randn(1, 8))
    assert porter.over == -2 * 3


def test_layers_without_weights_wait_for_none():
    made = nn.Sequential(nn.LayerNorm(8, elementwise_affine=False), nn.Linear(8, 8)).requires_grad_(False)
    cast_leaves(made)
    x = torch.randn(2, 8)
    plain = made(x)
    Stream(made, Porter())
    assert torch.equal(made(x), plain)


@given(st.lists(st.tuples(st.lists(st.integers(0, 5), max_size=3), st.sampled_from(TYPES)), min_size=1, max_size=5))
def test_weights_in_a_hold_lie_apart_and_whole(sizes: list[tuple[list[int], torch.dtype]]):
    weights = {str(n): torch.randn(tuple(shape)).to(dtype) for n, (shape, dtype) in enumerate(sizes)}
    hold = Hold(torch.device("cpu"))
    if hold.needs_more(weights):
        hold.grow(weights)
    assert not hold.needs_more(weights)
    places = hold.places(weights)
    for name, weight in weights.items():
        places[name].copy_(weight)
    assert all(torch.equal(places[name].float(), weight.float()) for name, weight in weights.items())
    assert all(place.data_ptr() % place.element_size() == 0 for place in places.values())


@pytest.fixture
def porter(monkeypatch: pytest.MonkeyPatch) -> Porter:
    """Weights travel on this machine too."""
    made = Marked()
    monkeypatch.setattr("executor.inference.memory.carrier_to", lambda device: made)
    return made


class Marked(Porter):
    """Keeps a book of names."""

    def send(self, weights: Mapping[str, Tensor], beside: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        self.book.append(("send", float(len(weights))))
        return {name: weight.clone() for name, weight in weights.items()}

    def wait(self, weights: Mapping[str, Tensor]) -> None:
        self.book.append(("wait", float(len(weights))))


def denoised(model: ModelHandle) -> Tensor:
    """One call of a small network."""
    x = torch.ones(1, 4, 8, 8)
    model.load(x.shape)
    with torch.no_grad():
        return model.model.apply(x, torch.tensor([3.0]), context=torch.ones(1, 77, 32))


def test_a_network_of_the_low_memory_modes_streams(tiny: Checkpoint, porter: Porter):
    resident = denoised(tiny.model)
    tiny.model.memory.mode = "low"
    tiny.model.model.part.release()
    assert torch.equal(denoised(tiny.model), resident)
    assert len(porter.book) > 20
    tiny.model.model.part.release()
    assert tiny.model.model.part.stream is None


def test_a_patch_reaches_layers_that_were_sent_for_before(tiny: Checkpoint, porter: Porter):
    first = next(name for name in tiny.model.model.part.weights if name.endswith("time_embed.0.weight"))
    weight = tiny.model.model.part.weights[first]
    patched = tiny.model.clone()
    patched.add_patches({f"diffusion_model.{first}": (torch.ones(weight.shape),)})
    wanted = denoised(patched)
    tiny.model.memory.mode = "low"
    tiny.model.model.part.release()
    denoised(tiny.model)
    plain = denoised(tiny.model)  # sends for the first layer again at its end
    torch.testing.assert_close(denoised(patched), wanted, rtol=1e-3, atol=1e-3)  # patched weights round to the file's
    assert (plain - wanted).abs().max() > 0.01
    assert torch.equal(denoised(tiny.model), plain)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_network_larger_than_what_may_be_over_streams_on_a_gpu():
    device = torch.device("cuda", 0)
    made, x = network(24, 2048), torch.randn(4, 2048)
    plain = made(x)
    Stream(made, CudaCarrier(device))
    base = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    found = made(x.to(device)).cpu()
    found = made(x.to(device)).cpu()
    layer = 2 * 2048 * 2048
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3)
    assert (
        torch.cuda.max_memory_allocated(device) - base < 12 * layer
    )  # two over, their float32 forms, allocator's slack


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_stream_that_runs_ahead_computes_with_the_right_weights():
    device = torch.device("cuda", 0)
    made, x = network(40, 1024), torch.randn(512, 1024)
    plain = made(x)
    Stream(made, CudaCarrier(device))
    for _ in range(10):  # nothing is waited for in between: the host is far ahead of the device
        found = made(x.to(device, non_blocking=True))
    torch.testing.assert_close(found.cpu(), plain, rtol=1e-3, atol=1e-3)
