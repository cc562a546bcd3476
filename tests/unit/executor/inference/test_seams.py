"""Functions that packs replace: what calls go to, what restores, what is reported."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from executor.errors import UnknownName
from executor.inference import noise, schedules, seams
from executor.inference.denoiser import discrete_eps


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    with seams.kept():
        yield


def test_a_replacement_is_called_and_can_call_the_original():
    original = noise.prepare_noise.current
    seams.find("sample.prepare_noise").replace(lambda latent, *more: original(latent, *more) * 2)
    latent = torch.zeros(1, 4, 2, 2)
    assert torch.equal(noise.prepare_noise(latent, 3), original(latent, 3) * 2)


def test_putting_the_original_back_restores():
    seam = seams.find("sample.prepare_noise")
    seam.replace(lambda *given: None)
    assert seam.is_replaced
    seam.replace(seam.original)
    assert not seam.is_replaced
    assert seams.report() == []


def test_the_report_names_the_function():
    def of_a_pack(*given: object) -> None: ...

    seams.find("samplers.calculate_sigmas").replace(of_a_pack)
    told = f"{__name__}.test_the_report_names_the_function.<locals>.of_a_pack"
    assert seams.report() == [{"seam": "samplers.calculate_sigmas", "replaced_by": told}]


def test_a_replaced_schedule_reaches_ksampler_nodes():
    seams.find("samplers.calculate_sigmas").replace(lambda sampling, name, steps: torch.arange(steps, -1.0, -1))
    sigmas = schedules.ksampler_sigmas(discrete_eps(), "of a pack", "euler", 3)
    assert sigmas.tolist() == [3, 2, 1, 0]


def test_an_unknown_seam_is_named_with_the_nearest():
    with pytest.raises(UnknownName, match=r"sample\.prepare_noise"):
        seams.find("sample.prepare_nois")
