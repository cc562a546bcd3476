"""Names of samplers: their order, what is told of a wrong one, and that no steps change nothing."""

import pytest
import torch

from executor.errors import UnknownName
from executor.inference.samplers import SAMPLER_NAMES, sampler
from tests.maths.recordings import described, toy_handle


def test_sampler_names_are_in_the_recorded_order() -> None:
    assert list(SAMPLER_NAMES) == described("tables")["sampler_names"]


def test_an_unknown_sampler_names_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'euler_ancestral'"):
        sampler("euler_ancestrall")


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_no_steps_leave_the_latent_as_it_is(name: str) -> None:
    x = torch.ones(1, 4, 8, 8)
    assert sampler(name).run(toy_handle("eps_sd15").model, x, [14.6]) is x
