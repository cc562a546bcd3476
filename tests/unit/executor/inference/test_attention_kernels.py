"""The fastest attention kernel is chosen once per shape, if it answers as the usual one does, and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from executor.inference import attention_kernels
from executor.inference.attention_kernels import AttentionKernels, by_kernels, key_of
from executor.inference.memory import Memory

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_refused() -> None:
    """What other tests' kernels refused is forgotten."""
    attention_kernels.refusals.cache_clear()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, {"": 10.0, "FLASH_ATTENTION": 8.0, "CUDNN_ATTENTION": 5.0})


class Clock:
    """Kernels of made-up speeds; those without one do not take the shape."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Mapping[str, float]) -> None:
        self.seconds, self.name, self.asked, self.wrong = dict(seconds), "", list[str](), ""
        self.refused: list[str] = []
        monkeypatch.setattr(attention_kernels, "sdpa_kernel", self.forced)
        monkeypatch.setattr(attention_kernels.functional, "scaled_dot_product_attention", self.attention)

    @contextmanager
    def forced(self, backend: Any) -> Any:
        self.name = backend.name
        try:
            yield
        finally:
            self.name = ""

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.name not in self.seconds:
            self.refused.append(self.name)
            raise RuntimeError("No available kernel")
        return _attention(q, k, v) + (1.0 if self.name and self.name == self.wrong else 0.0)

    def __call__(self, run: Callable[[], Tensor], device: torch.device) -> float:
        run()
        self.asked.append(self.name)
        return self.seconds[self.name]


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v


def parts(rows: int = 5) -> list[Tensor]:
    return [torch.randn(1, 2, rows, 8) for _ in range(3)]


def test_the_fastest_kernel_is_taken(clock: Clock):
    kernels = AttentionKernels(device=CPU, timer=clock)
    assert kernels.chosen(*parts()) == "CUDNN_ATTENTION"


def test_a_shape_is_measured_once(clock: Clock):
    kernels = AttentionKernels(device=CPU, timer=clock)
    for rows in (5, 5, 6, 5):
        kernels.chosen(*parts(rows))
    assert clock.asked.count("") == 2


def test_a_kernel_that_answers_otherwise_is_not_taken(clock: Clock, caplog: pytest.LogCaptureFixture):
    clock.wrong = "CUDNN_ATTENTION"
    assert AttentionKernels(device=CPU, timer=clock).chosen(*parts()) == "FLASH_ATTENTION"
    assert "CUDNN_ATTENTION answers otherwise" in caplog.text


def test_where_the_usual_kernel_fails_the_others_are_compared_with_arithmetic(
    clock: Clock, caplog: pytest.LogCaptureFixture
):
    clock.seconds = {"MATH": 20.0, "FLASH_ATTENTION": 8.0}
    kernels, given = AttentionKernels(device=CPU, timer=clock), parts()
    torch.testing.assert_close(kernels.attend(*given), _attention(*given))
    assert list(kernels.choices.values()) == ["FLASH_ATTENTION"]
    assert "PyTorch's own attention kernel fails" in caplog.text
    clock.seconds = {"MATH": 20.0}
    assert kernels.chosen(*parts(6)) == "MATH"


def test_a_kernel_that_refused_a_shape_is_not_asked_again_in_this_process(clock: Clock):
    del clock.seconds["CUDNN_ATTENTION"]
    for _ in range(2):
        assert AttentionKernels(device=CPU, timer=clock).chosen(*parts()) == "FLASH_ATTENTION"
    assert clock.refused.count("CUDNN_ATTENTION") == 1


def test_a_chosen_kernel_that_refuses_later_is_given_up(clock: Clock, caplog: pytest.LogCaptureFixture):
    kernels, given = AttentionKernels(device=CPU, timer=clock), parts()
    kernels.attend(*given)
    del clock.seconds["CUDNN_ATTENTION"]
    for _ in range(2):
        torch.testing.assert_close(kernels.attend(*given), _attention(*given))
    assert clock.refused.count("CUDNN_ATTENTION") == 1
    assert "CUDNN_ATTENTION refuses" in caplog.text


def test_cudnn_is_not_what_pytorch_chooses_by_itself_on_a_gpu():
    before = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        Memory(torch.device("cuda", 0))
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


def test_want_of_memory_is_no_refusal(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    def without_room(*given: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(attention_kernels.functional, "scaled_dot_product_attention", without_room)
    with pytest.raises(torch.OutOfMemoryError):
        AttentionKernels(device=CPU, timer=clock).chosen(*parts())


def test_a_choice_made_while_memory_was_short_is_not_kept(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if clock.name == "CUDNN_ATTENTION":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return clock.attention(q, k, v)

    monkeypatch.setattr(attention_kernels.functional, "scaled_dot_product_attention", attention)
    file = tmp_path / "kernels.json"
    made = AttentionKernels(device=CPU, file=file, timer=clock)
    x = torch.randn(1, 2, 6, 4)
    assert [made.chosen(x, x, x) for _ in range(2)] == ["FLASH_ATTENTION"] * 2
    assert list(json.loads(file.read_text()).values()) == [{}]


def test_a_small_gain_changes_nothing(clock: Clock):
    clock.seconds = {"": 10.0, "FLASH_ATTENTION": 9.8}
    assert AttentionKernels(device=CPU, timer=clock).chosen(*parts()) == ""


def test_choices_are_kept(clock: Clock, tmp_path: Path):
    file = tmp_path / "user" / "kernels.json"
    AttentionKernels(device=CPU, timer=clock, file=file).chosen(*parts())
    clock.seconds[""] = 0.1
    assert AttentionKernels(device=CPU, timer=clock, file=file).chosen(*parts()) == "CUDNN_ATTENTION"
    assert clock.asked.count("") == 1


@pytest.mark.parametrize("text", ["", "[]", "{broken", '{"cpu, torch x": {}}'])
def test_a_broken_file_is_measured_anew(clock: Clock, tmp_path: Path, text: str):
    file = tmp_path / "kernels.json"
    file.write_text(text)
    assert AttentionKernels(device=CPU, timer=clock, file=file).chosen(*parts()) == "CUDNN_ATTENTION"
    assert "CUDNN_ATTENTION" in json.dumps(json.loads(file.read_text()))


def test_unknown_names_in_the_file_are_not_used(clock: Clock, tmp_path: Path):
    file = tmp_path / "kernels.json"
    given = parts()
    file.write_text(json.dumps({f"cpu, torch {torch.__version__}": {key_of(*given): "NEWEST"}}))
    assert AttentionKernels(device=CPU, timer=clock, file=file).chosen(*given) == "CUDNN_ATTENTION"


def test_rows_that_lie_apart_are_another_shape():
    whole = torch.randn(1, 5, 3 * 16)
    joined = [part.reshape(1, 5, 2, 8).transpose(1, 2) for part in whole.chunk(3, dim=-1)]
    apart = [part.contiguous() for part in joined]
    assert key_of(*joined) != key_of(*apart)


def test_the_cpu_attends_as_ever(clock: Clock):
    q, k, v = parts()
    with by_kernels(AttentionKernels(device=CPU, timer=clock)):
        attention_kernels.attend_fast(q, k, v)
    assert clock.asked == []
