"""Kernels for group norms are asked where they fit, believed once they answer as PyTorch does, given up in trouble."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from executor.inference import cell_norms
from executor.inference.cell_norms import CellNorms, takes
from executor.inference.layout import by_operations

Kernel = Callable[..., Tensor]
WEIGHT, BIAS = torch.linspace(0.5, 1.5, 8), torch.linspace(-1, 1, 8)


def usual(cells: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
    return torch.nn.functional.group_norm(cells.transpose(1, 2), groups, weight, bias, eps).transpose(1, 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel], list[int]]:
    """Puts a kernel in place, for any tensor; the list grows with each time that it is asked."""

    def put(kernel: Kernel) -> list[int]:
        times: list[int] = []

        def counted(*given: object) -> Tensor:
            times.append(1)
            return kernel(*given)

        monkeypatch.setattr(cell_norms, "takes", lambda *_: True)
        monkeypatch.setattr(cell_norms, "by_kernels", counted)
        return times

    return put


def normed(norms: CellNorms, by: Kernel = usual, times: int = 3) -> list[Tensor]:
    return [norms.normed(torch.randn(2, 5, 8) + 1, WEIGHT, BIAS, 4, 1e-5, by) for _ in range(times)]


def test_a_kernel_that_answers_right_is_compared_once(
    asked: Callable[[Kernel], list[int]], monkeypatch: pytest.MonkeyPatch
):
    times, compared = asked(usual), []
    monkeypatch.setattr(cell_norms, "by_pytorch", lambda *given: compared.append(1) or usual(*given))
    normed(CellNorms())
    assert (len(times), len(compared)) == (3, 1)


@pytest.mark.parametrize("failure", [RuntimeError("no C compiler\nmore"), ImportError("no C compiler"), None])
def test_a_kernel_that_fails_or_answers_otherwise_is_asked_no_more(
    failure: Exception | None, asked: Callable[[Kernel], list[int]], caplog: pytest.LogCaptureFixture
):
    def broken(*given: object) -> Tensor:
        if failure is not None:
            raise failure
        return torch.full((2, 5, 8), torch.nan)

    times = asked(broken)
    with caplog.at_level(logging.WARNING):
        answers = normed(CellNorms())
    assert len(times) == len(caplog.records) == 1
    assert all(bool(answer.isfinite().all()) for answer in answers)
    assert "no C compiler" in caplog.text or "answers otherwise" in caplog.text


def test_want_of_memory_is_told_and_the_kernel_stays(asked: Callable[[Kernel], list[int]]):
    def without_room(*given: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    asked(without_room)
    norms = CellNorms()
    with pytest.raises(torch.OutOfMemoryError):
        normed(norms)
    assert not norms.is_given_up


def test_the_cpu_and_tracers_have_no_kernel(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    half = torch.zeros(2, 5, 8).half()
    assert not takes(half, WEIGHT.half(), BIAS.half())
    with FakeTensorMode():
        fake = torch.empty_strided((2, 5, 8), (40, 8, 1), dtype=torch.float16, device="cuda")
        assert not takes(fake, fake, fake)


@pytest.mark.parametrize("groups", [1, 4, 8])
def test_the_operations_are_a_group_norm(groups: int):
    cells = torch.randn(2, 7, 8) * 2 + 3
    torch.testing.assert_close(
        by_operations(cells, WEIGHT, BIAS, groups, 1e-5), usual(cells, WEIGHT, BIAS, groups, 1e-5)
    )
