"""Rules of noise levels beyond the recorded numbers."""

import pytest

from executor.inference import denoiser
from tests.maths.recordings import sampling


@pytest.mark.parametrize("name", ["eps_sd15", "flux_1.15"])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 0.95])
def test_half_log_snr_has_an_inverse(name: str, sigma: float) -> None:
    model_sampling = sampling(name)
    assert model_sampling.sigma_of_half_log_snr(model_sampling.half_log_snr(sigma)) == pytest.approx(sigma)


def test_a_flow_holds_less_data_the_noisier_it_is() -> None:
    assert [denoiser.flow().alpha(0.25), denoiser.discrete_eps().alpha(0.25)] == [0.75, 1.0]
