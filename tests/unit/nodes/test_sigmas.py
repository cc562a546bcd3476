"""Nodes that make and edit noise levels give the recorded tables (reference/numeric, scheduler_nodes)."""

from __future__ import annotations

import pytest
import torch

from nodes.builtin import sigmas
from tests.maths.recordings import cases, error, tensors, toy_handle
from tests.unit.nodes.recorded import calls

FILE = "scheduler_nodes"
NODES = {cls.__name__: cls for cls in sigmas.NODES}


def given(name: str, value: object) -> object:
    if name == "model":
        return toy_handle(str(value))
    return tensors(FILE)[value.removeprefix("tensor ")].clone() if str(value).startswith("tensor ") else value


def outcome(name: str) -> tuple[object, ...]:
    case = cases(FILE)[name]
    cls = NODES[case["node"]]
    return getattr(cls(), cls.FUNCTION)(**{key: given(key, value) for key, value in case["inputs"].items()})


@pytest.mark.parametrize("name", calls(FILE, set(NODES)))
def test_levels_are_the_recorded_ones(name: str) -> None:
    for part, result in zip(cases(FILE)[name]["outputs"], outcome(name), strict=True):
        recorded = tensors(FILE)[f"{name}/{part}"]
        actual = torch.as_tensor(result, dtype=recorded.dtype).reshape(recorded.shape)
        assert torch.as_tensor(result).numel() == recorded.numel()
        assert error(actual, recorded) <= 2e-6


def test_a_first_level_put_in_leaves_the_given_table_as_it_is() -> None:
    table = torch.tensor([2.0, 1.0, 0.0])
    sigmas.SetFirstSigma().set_first_sigma(table, 5.0)
    assert table.tolist() == [2.0, 1.0, 0.0]


def test_no_steps_of_a_searched_table_are_no_levels() -> None:
    assert len(sigmas.AlignYourStepsScheduler().get_sigmas("SD1", 10, 0.0)[0]) == 0
