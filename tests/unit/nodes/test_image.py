"""Pictures of one colour, as many as there is memory for."""

import pytest

from executor.errors import NodeInputError
from nodes.builtin.image import EmptyImage


def test_a_colour_fills_every_picture():
    [pictures] = EmptyImage().generate(4, 2, batch_size=3, color=0xFF8000)
    assert pictures.shape == (3, 2, 4, 3)
    assert pictures.reshape(-1, 3).unique(dim=0).tolist() == [[1.0, pytest.approx(128 / 255), 0.0]]


def test_more_than_there_is_memory_for_is_refused_with_the_figures():
    with pytest.raises(NodeInputError, match=r"4096 with 16384 x 16384 pixels takes at least 13194\.1 GB, but .* free"):
        EmptyImage().generate(16384, 16384, batch_size=4096)
