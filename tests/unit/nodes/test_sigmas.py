"""Nodes that make and edit noise levels, beyond the recorded tables."""

from __future__ import annotations

import torch

from nodes.builtin import sigmas

NODES = {cls.__name__: cls for cls in sigmas.NODES}


def test_a_first_level_put_in_leaves_the_given_table_as_it_is() -> None:
    table = torch.tensor([2.0, 1.0, 0.0])
    sigmas.SetFirstSigma().set_first_sigma(table, 5.0)
    assert table.tolist() == [2.0, 1.0, 0.0]


def test_no_steps_of_a_searched_table_are_no_levels() -> None:
    assert len(sigmas.AlignYourStepsScheduler().get_sigmas("SD1", 10, 0.0)[0]) == 0
