"""Nodes that make and edit noise levels, beyond the recorded tables."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ltx.pipeline_ltx import calculate_shift

from nodes.builtin import sigmas

NODES = {cls.__name__: cls for cls in sigmas.NODES}


def test_a_first_level_put_in_leaves_the_given_table_as_it_is() -> None:
    table = torch.tensor([2.0, 1.0, 0.0])
    sigmas.SetFirstSigma().set_first_sigma(table, 5.0)
    assert table.tolist() == [2.0, 1.0, 0.0]


def test_no_steps_of_a_searched_table_are_no_levels() -> None:
    assert len(sigmas.AlignYourStepsScheduler().get_sigmas("SD1", 10, 0.0)[0]) == 0


@pytest.mark.parametrize(("frames", "height", "width"), [(3, 4, 5), (13, 16, 24), (20, 17, 30)])
@pytest.mark.parametrize("terminal", [0.1, None])
def test_levels_of_ltx_videos_are_those_of_diffusers(frames: int, height: int, width: int, terminal: float) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=terminal)
    mu = calculate_shift(frames * height * width, 1024, 4096, 0.95, 2.05)
    theirs.set_timesteps(sigmas=torch.linspace(1, 1 / 9, 9).tolist(), mu=mu)
    latent = {"samples": torch.zeros(1, 128, frames, height, width)}
    stretch = terminal is not None
    [found] = sigmas.LTXVScheduler().get_sigmas(9, 2.05, 0.95, stretch, terminal or 0.3, latent)
    torch.testing.assert_close(found, theirs.sigmas)


def test_one_step_of_an_ltx_video_is_pure_noise_whatever_its_end() -> None:
    [found] = sigmas.LTXVScheduler().get_sigmas(1, 2.05, 0.95, True, 0.1)
    assert found.tolist() == pytest.approx([1.0, 0.0])
