"""Sigma tables of every scheduler against recorded numbers."""

import pytest
import torch

from executor.errors import UnknownName
from executor.inference.schedules import DROP_PENULTIMATE, SCHEDULER_NAMES, calculate_sigmas, ksampler_sigmas
from tests.maths.recordings import described, error, sampling, tensors

BOUND = 2e-6
NONFINITE = set(described("sigmas")["nonfinite"])
SCHEDULES = [key for key in tensors("sigmas") if not key.startswith("ks/") and key not in NONFINITE]
KSAMPLER_SCHEDULES = [key for key in tensors("sigmas") if key.startswith("ks/")]


@pytest.mark.parametrize("key", SCHEDULES)
def test_a_schedule_is_the_recorded_one(key: str) -> None:
    name, scheduler, steps = key.split("/")
    assert error(calculate_sigmas(sampling(name), scheduler, int(steps)), tensors("sigmas")[key]) <= BOUND


@pytest.mark.parametrize("key", KSAMPLER_SCHEDULES)
def test_the_sigmas_of_a_ksampler_are_the_recorded_ones(key: str) -> None:
    _, name, scheduler, sampler, steps, denoise = key.split("/")
    sigmas = ksampler_sigmas(sampling(name), scheduler, sampler, int(steps), float(denoise))
    assert error(sigmas, tensors("sigmas")[key]) <= BOUND


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
