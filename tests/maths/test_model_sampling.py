"""Noise levels and predictions against recorded numbers."""

import pytest
import torch

from executor.inference import denoiser
from tests.maths.recordings import MODEL_SAMPLINGS, cases, error, sampling, tensors

BOUND = 2e-6
CONVERSIONS = [(name, conv) for name in MODEL_SAMPLINGS for conv in ("conv0", "conv1", "conv2")]


@pytest.mark.parametrize("name", MODEL_SAMPLINGS)
def test_the_table_of_sigmas_is_the_recorded_one(name: str) -> None:
    table = sampling(name).sigmas
    picked = torch.cat([table[::37], table[-1:]])
    assert len(table) == cases("model_sampling")[name]["table_len"]
    assert error(picked, tensors("model_sampling")[f"{name}/table"]) <= BOUND


@pytest.mark.parametrize("name", MODEL_SAMPLINGS)
def test_the_timestep_of_a_sigma_is_the_recorded_one(name: str) -> None:
    recorded = tensors("model_sampling")
    timesteps = sampling(name).timestep(recorded[f"{name}/sigma_in"])
    expected = recorded[f"{name}/timestep_of_sigma"]
    assert timesteps.dtype == expected.dtype
    assert error(timesteps, expected) <= (BOUND if expected.is_floating_point() else 0)


@pytest.mark.parametrize("name", MODEL_SAMPLINGS)
def test_the_sigma_of_a_timestep_is_the_recorded_one(name: str) -> None:
    recorded = tensors("model_sampling")
    sigmas = sampling(name).sigma(recorded[f"{name}/timestep_in"])
    assert error(sigmas, recorded[f"{name}/sigma_of_timestep"]) <= BOUND


@pytest.mark.parametrize("name", MODEL_SAMPLINGS)
def test_percents_give_the_recorded_sigmas(name: str) -> None:
    case = cases("model_sampling")[name]
    found = [sampling(name).percent_to_sigma(percent) for percent in case["percents"]]
    assert found == pytest.approx(case["percent_to_sigma"], rel=BOUND)


@pytest.mark.parametrize(("name", "conv"), CONVERSIONS)
def test_network_input_is_the_recorded_one(name: str, conv: str) -> None:
    recorded = tensors("model_sampling")
    found = sampling(name).calculate_input(recorded[f"{name}/{conv}/sigma"], recorded["in/x"])
    assert error(found, recorded[f"{name}/{conv}/calculate_input"]) <= BOUND


@pytest.mark.parametrize(("name", "conv"), CONVERSIONS)
def test_denoised_is_the_recorded_one(name: str, conv: str) -> None:
    recorded = tensors("model_sampling")
    sigma = recorded[f"{name}/{conv}/sigma"]
    found = sampling(name).calculate_denoised(sigma, recorded["in/model_output"], recorded["in/x"])
    assert error(found, recorded[f"{name}/{conv}/calculate_denoised"]) <= BOUND


@pytest.mark.parametrize(("name", "conv"), CONVERSIONS)
@pytest.mark.parametrize("part", ["noise_scaling", "noise_scaling_max", "inverse_noise_scaling"])
def test_noising_a_latent_is_the_recorded_one(name: str, conv: str, part: str) -> None:
    recorded = tensors("model_sampling")
    sigma = recorded[f"{name}/{conv}/sigma"][0].item()
    if part == "inverse_noise_scaling":
        found = sampling(name).inverse_noise_scaling(sigma, recorded["in/latent"])
    else:
        found = sampling(name).noise_scaling(sigma, recorded["in/x"], recorded["in/latent"], part.endswith("max"))
    assert error(found, recorded[f"{name}/{conv}/{part}"]) <= BOUND


@pytest.mark.parametrize("name", ["eps_sd15", "flux_1.15"])
@pytest.mark.parametrize("sigma", [0.05, 0.5, 0.95])
def test_half_log_snr_has_an_inverse(name: str, sigma: float) -> None:
    model_sampling = sampling(name)
    assert model_sampling.sigma_of_half_log_snr(model_sampling.half_log_snr(sigma)) == pytest.approx(sigma)


def test_a_flow_holds_less_data_the_noisier_it_is() -> None:
    assert [denoiser.flow().alpha(0.25), denoiser.discrete_eps().alpha(0.25)] == [0.75, 1.0]
