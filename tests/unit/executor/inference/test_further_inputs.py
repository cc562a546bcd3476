"""What networks take beside latents and text: several tensors, words, and texts that must not be repeated."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from executor.inference.condition_values import CONDCrossAttn, CONDList, CONDRegular
from executor.inference.conditions import Condition, completed, conditions_of
from executor.inference.extras import Situation
from executor.inference.network_calls import calls_of

X = torch.zeros(2, 4, 8, 8)
CPU = torch.device("cpu")


def condition(tokens: int = 3, **options: Any) -> Condition:
    return Condition(context=torch.ones(1, tokens, 4), **options)


def pictures(*heights: int, value: float = 1.0) -> tuple[Tensor, ...]:
    return tuple(torch.full((1, 4, height, 5), value) for height in heights)


def test_several_tensors_of_two_conditions_go_into_one_call():
    sides = [condition(extras={"refs": pictures(3, 7, value=side)}) for side in (1.0, 2.0)]
    [call] = calls_of(list(enumerate(sides)), X)
    assert [tuple(each.shape) for each in call.extras["refs"]] == [(4, 4, 3, 5), (4, 4, 7, 5)]
    assert call.extras["refs"][1][:, 0, 0, 0].tolist() == [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    "others", [{"refs": pictures(3, 8)}, {"refs": pictures(3)}, {}, {"refs": pictures(3, 7), "way": "index"}]
)
def test_conditions_with_other_further_inputs_have_calls_of_their_own(others):
    sides = [condition(extras={"refs": pictures(3, 7)}), condition(extras=others)]
    assert len(calls_of(list(enumerate(sides)), X)) == 2


def test_an_area_does_not_cut_several_tensors():
    given = condition(extras={"refs": pictures(3, 7)}, area=(2, 2, 0, 0))
    assert [tuple(each.shape) for each in given.extra("refs", 3)] == [(3, 4, 3, 5), (3, 4, 7, 5)]


@pytest.mark.parametrize(("repeats", "calls"), [(True, 1), (False, 2)])
def test_texts_of_two_lengths_share_a_call_only_where_they_may_be_repeated(repeats, calls):
    sides = [condition(3, repeats=repeats), condition(6, repeats=repeats)]
    assert len(calls_of(list(enumerate(sides)), X)) == calls


@pytest.mark.parametrize("repeats", [True, False])
def test_packs_see_and_hand_back_what_a_condition_has(repeats):
    given = condition(extras={"refs": pictures(3, 7), "way": "index"}, repeats=repeats)
    seen = given["model_conds"]
    assert type(seen["c_crossattn"]) is (CONDCrossAttn if repeats else CONDRegular)
    assert type(seen["refs"]) is CONDList
    [back] = conditions_of([given.copy()])
    assert back.repeats is repeats
    assert back.extras["way"] == "index"
    assert all(torch.equal(a, b) for a, b in zip(back.extras["refs"], given.extras["refs"], strict=True))


def test_a_network_says_whether_its_text_may_be_repeated():
    class Network:
        extras, text_width, repeats_text = (), 4, False

    [found] = completed([condition()], Network(), Situation(shape=X.shape))
    assert found.repeats is False


def test_several_tensors_are_brought_where_the_network_computes():
    moved = condition(extras={"refs": pictures(3), "way": "index"}).on(torch.device("meta"))
    assert moved.extras["refs"][0].device.type == "meta"
