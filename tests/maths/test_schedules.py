"""Names of schedulers and the ends of their tables."""

import pytest
import torch

from executor.errors import UnknownName
from executor.inference.schedules import DROP_PENULTIMATE, SCHEDULER_NAMES, calculate_sigmas, ksampler_sigmas
from tests.maths.recordings import described, sampling


def test_scheduler_names_are_in_the_recorded_order() -> None:
    assert list(SCHEDULER_NAMES) == described("tables")["scheduler_names"]


def test_the_samplers_that_drop_the_penultimate_sigma_are_the_recorded_ones() -> None:
    assert set(described("tables")["samplers_that_drop_the_penultimate_sigma"]) == DROP_PENULTIMATE


def test_an_unknown_scheduler_names_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'karras'"):
        calculate_sigmas(sampling("eps_sd15"), "kerras", 4)


@pytest.mark.parametrize("scheduler", SCHEDULER_NAMES)
def test_one_step_ends_at_zero(scheduler: str) -> None:
    sigmas = calculate_sigmas(sampling("eps_sd15"), scheduler, 1)
    assert sigmas.isfinite().all()
    assert sigmas[-1] == 0


def test_no_denoise_gives_no_sigmas() -> None:
    assert torch.equal(ksampler_sigmas(sampling("eps_sd15"), "normal", "euler", 8, 0.0), torch.empty(0))
