"""When a hook is how strong."""

import logging

import pytest
import torch

from executor.inference.denoiser import discrete_eps
from executor.inference.hook_keyframes import HookKeyframe, HookKeyframeGroup, evenly, interpolated, with_row


class Model:
    """What keyframes ask of a model."""

    model_sampling = discrete_eps()


SIGMA = Model.model_sampling.percent_to_sigma


def group(*keyframes):
    made = HookKeyframeGroup()
    for strength, start, *guaranteed in keyframes:
        made.add(HookKeyframe(strength, start, *guaranteed))
    made.initialize_timesteps(Model())
    return made


def strengths(made, percents, options=None):
    seen = []
    for percent in percents:
        made.prepare_current_keyframe(float(torch.tensor(SIGMA(percent), dtype=torch.float32)), options)
        seen.append(made.strength)
    return seen


def test_a_keyframe_holds_from_its_start_on():
    assert strengths(group((0.5, 0.0), (1.0, 0.4), (0.0, 0.8)), (0.1, 0.39, 0.4, 0.7, 0.8, 0.99)) == [
        *(0.5, 0.5, 1.0, 1.0, 0.0, 0.0)
    ]  # fmt: skip


def test_the_first_keyframe_holds_before_its_start_too():
    assert strengths(group((0.3, 0.5), (0.6, 0.7)), (0.1, 0.6, 0.8)) == [0.3, 0.3, 0.6]


def test_without_keyframes_a_hook_is_at_full_strength():
    assert strengths(group(), (0.1, 0.9)) == [1.0, 1.0]


def test_keyframes_take_their_places_by_start():
    assert [each.strength for each in group((2.0, 0.5), (1.0, 0.2), (3.0, 0.5)).keyframes] == [1.0, 2.0, 3.0]


def test_a_guaranteed_keyframe_holds_for_a_step_even_when_it_is_over():
    made = group((1.0, 0.0), (0.5, 0.1), (0.2, 0.2))
    highest = {"sample_sigmas": torch.tensor([SIGMA(0.01), 0.0])}
    assert strengths(made, (0.05, 0.6, 0.7), highest) == [1.0, 0.5, 0.2]


def test_one_without_guarantee_is_passed_by():
    assert strengths(group((1.0, 0.0), (0.5, 0.1, 0), (0.2, 0.2)), (0.05, 0.6)) == [1.0, 0.2]


def test_a_keyframe_from_before_the_samplings_start_is_sure_of_nothing():
    late = {"sample_sigmas": torch.tensor([SIGMA(0.5), 0.0])}
    assert strengths(group((1.0, 0.0), (0.5, 0.1), (0.2, 0.2)), (0.5,), late) == [0.2]


def test_a_level_that_is_asked_for_again_counts_once():
    made = group((1.0, 0.0, 2), (0.5, 0.1))
    options = {"sample_sigmas": torch.tensor([float("inf")])}
    assert strengths(made, (0.3, 0.3, 0.3, 0.4, 0.5), options) == [1.0, 1.0, 1.0, 1.0, 0.5]


def test_a_reset_begins_anew():
    made = group((1.0, 0.0), (0.5, 0.5))
    assert strengths(made, (0.9,)) == [0.5]
    made.reset()
    assert made.strength == 1.0


def test_a_clone_is_added_to_apart():
    made = group((1.0, 0.0))
    made.clone().add(HookKeyframe(2.0, 0.5))
    assert len(made.keyframes) == 1


@pytest.mark.parametrize(
    ("easing", "middle"), [("linear", 0.25), ("ease_in", 0.0625), ("ease_out", 0.4375), ("ease_in_out", 0.146447)]
)
def test_a_row_of_strengths_goes_from_end_to_end(easing, middle):
    found = interpolated(0.0, 1.0, 5, easing)
    assert found[0] == 0.0
    assert found[-1] == 1.0
    assert found[1] == pytest.approx(middle, abs=1e-6)


def test_times_are_spread_evenly():
    assert evenly(0.2, 0.8, 3) == pytest.approx([0.2, 0.5, 0.8])
    assert evenly(0.2, 0.8, 1) == [0.2]


def test_a_row_comes_to_those_before_and_is_told(caplog):
    before = group((9.0, 0.9))
    with caplog.at_level(logging.INFO, "weft.inference"):
        made = with_row(before, [1.0, 0.5], 0.0, 0.5, told=True)
    assert [(each.strength, each.start_percent, each.guarantee_steps) for each in made.keyframes] == [
        (1.0, 0.0, 1), (0.5, 0.5, 0), (9.0, 0.9, 1)
    ]  # fmt: skip
    assert len(caplog.messages) == 2
    assert len(before.keyframes) == 1
