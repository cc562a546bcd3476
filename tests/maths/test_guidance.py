"""Classifier-free guidance: recorded guiders, how network calls are shared, and what packs may hook in."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from executor.inference.conditions import Condition, resolve, with_counterparts
from executor.inference.denoiser import ModelSampling
from executor.inference.guidance import Guider
from executor.inference.noise import prepare_noise
from executor.inference.sample import Guidance, sample_sigmas
from executor.inference.samplers import sampler
from executor.inference.samplers.sa_solver import interval_stochasticity
from tests.maths.recordings import cases, error, sampling, tensors, toy_handle

SEED = 12345
# samplers with options of their own, as the Sampler* nodes set them
WITH_OPTIONS = {
    "SamplerEulerAncestral/0": "euler_ancestral",
    "SamplerEulerAncestralCFGPP/1": "euler_ancestral_cfg_pp",
    "SamplerLMS/2": "lms",
    "SamplerLMS/3": "lms",
    "SamplerDPMPP_3M_SDE/4": "dpmpp_3m_sde",
    "SamplerDPMPP_2M_SDE/5": "dpmpp_2m_sde",
    "SamplerDPMPP_2M_SDE/6": "dpmpp_2m_sde",
    "SamplerDPMPP_SDE/7": "dpmpp_sde",
    "SamplerDPMPP_2S_Ancestral/8": "dpmpp_2s_ancestral",
    "SamplerDPMAdaptative/9": "dpm_adaptive",
    "SamplerDPMAdaptative/10": "dpm_adaptive",
}


def recorded_entry(side: str) -> list[list[object]]:
    return [[tensors("guiders")[f"in/{side}"], {}]]


def run(name: str, *, cfg: float, sampler_name: str = "euler", **options: object) -> tuple[Tensor, Tensor]:
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    case = cases("guiders")[name]
    sigmas = tensors("guiders")["in/sigmas"]
    if str(case.get("sigmas_", "")).startswith("low"):
        sigmas = sigmas[3:]
    if str(case.get("sigmas_", "")).startswith("high"):
        sigmas = sigmas[:4]
    if str(case.get("latent", "")).startswith("latent1"):
        latent["samples"] = tensors("guiders")["in/latent1"]
    if "batch_index" in case:
        latent["samples"] = torch.zeros(len(case["batch_index"]), 4, 8, 8)
    noise = prepare_noise(latent["samples"], SEED, case.get("batch_index"))
    if name == "disable_noise":
        noise = torch.zeros_like(noise)
    handle = toy_handle("eps_sd15")
    if name == "differential_diffusion":
        latent["noise_mask"] = tensors("guiders")["in/mask"]
    guidance = Guidance(positive=recorded_entry("positive"), negative=recorded_entry("negative"), cfg=cfg)
    method = sampler(sampler_name).with_options(**options)
    return sample_sigmas(handle, latent, noise, sigmas, method, guidance, seed=SEED)


@pytest.mark.parametrize(
    "name", ["cfg", "cfg1", "basic", "disable_noise", "batch_index", "split_low", "split_high", "SamplerCustom"]
)
def test_a_guided_run_is_the_recorded_one(name: str) -> None:
    out, denoised = run(name, cfg=cases("guiders")[name].get("cfg", 1.0))
    assert error(out, tensors("guiders")[f"{name}/out"]) <= 1e-4
    assert error(denoised, tensors("guiders")[f"{name}/denoised"]) <= 1e-4


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_a_sampler_with_options_is_the_recorded_one(name: str) -> None:
    case = cases("guiders")[name]
    options = {key: value for key, value in case["inputs"].items() if key != "noise_device"}
    out, _ = run(name, cfg=case["cfg"], sampler_name=WITH_OPTIONS[name], **options)
    assert error(out, tensors("guiders")[f"{name}/out"]) <= (1e-3 if "Adaptative" in name else 1e-4)


@pytest.mark.parametrize("name", ["SamplerSASolver/14", "SamplerSASolver/15"])
def test_an_sa_solver_with_options_is_the_recorded_one(name: str) -> None:
    case = cases("guiders")[name]
    options = {key: value for key, value in case["inputs"].items() if key != "model"}
    to_sigma = sampling("eps_sd15").percent_to_sigma
    ends = to_sigma(options.pop("sde_start_percent")), to_sigma(options.pop("sde_end_percent"))
    tau = interval_stochasticity(*ends, options.pop("eta"))
    out, _ = run(name, cfg=case["cfg"], sampler_name="sa_solver", tau=tau, **options)
    assert error(out, tensors("guiders")[f"{name}/out"]) <= 1e-4


@dataclass(frozen=True, kw_only=True)
class CountingModel:
    """Answers with a constant per row and remembers what it was called with."""

    sampling: ModelSampling
    calls: list[dict[str, object]] = field(default_factory=list)

    def apply(self, x: Tensor, sigma: Tensor, *, context: Tensor, transformer_options: dict[str, object]) -> Tensor:
        self.calls.append({"x": x.shape, "sigma": sigma, "context": context.shape, **transformer_options})
        return context.mean(dim=(1, 2))[:, None, None, None] * torch.ones_like(x)


@pytest.fixture
def model() -> CountingModel:
    return CountingModel(sampling=sampling("eps_sd15"))


def condition(value: float, tokens: int = 3, **options: object) -> Condition:
    return replace(Condition(context=torch.full((1, tokens, 4), value)), **options)


X = torch.zeros(2, 4, 16, 16)


def test_both_sides_share_one_call(model: CountingModel) -> None:
    Guider(model, [condition(3.0)], [condition(1.0)], 5.0)(X, 2.0)
    assert [call["x"] for call in model.calls] == [(4, 4, 16, 16)]


def test_guidance_moves_away_from_the_negative_side(model: CountingModel) -> None:
    denoised = Guider(model, [condition(3.0)], [condition(1.0)], 5.0)(X, 2.0)
    assert torch.equal(denoised, torch.full_like(X, 1.0 + (3.0 - 1.0) * 5.0))


def test_the_network_hears_which_rows_are_whose(model: CountingModel) -> None:
    Guider(model, [condition(3.0)], [condition(1.0)], 5.0)(X, 2.0)
    assert model.calls[0]["cond_or_uncond"] == [0, 1]


def test_a_scale_of_one_leaves_the_negative_side_out(model: CountingModel) -> None:
    Guider(model, [condition(3.0)], [condition(1.0)], 1.0)(X, 2.0)
    assert [call["x"] for call in model.calls] == [(2, 4, 16, 16)]


def test_a_scale_of_one_still_knows_the_negative_side_when_asked(model: CountingModel) -> None:
    unconditional = Guider(model, [condition(3.0)], [condition(1.0)], 1.0).both(X, 2.0).unconditional
    assert torch.equal(unconditional, torch.ones_like(X))


def test_embeddings_of_like_lengths_are_repeated_to_share_a_call(model: CountingModel) -> None:
    Guider(model, [condition(3.0, 6)], [condition(1.0, 3)], 5.0)(X, 2.0)
    assert [call["context"] for call in model.calls] == [(4, 6, 4)]


def test_embeddings_of_unlike_lengths_are_called_apart(model: CountingModel) -> None:
    Guider(model, [condition(3.0, 7)], [condition(1.0, 5)], 5.0)(X, 2.0)
    assert len(model.calls) == 2


def test_crops_of_another_size_are_called_apart(model: CountingModel) -> None:
    area = condition(3.0, area=(8, 8, 0, 0))
    Guider(model, [area], [condition(1.0)], 5.0)(X, 2.0)
    assert [call["x"] for call in model.calls] == [(2, 4, 8, 8), (2, 4, 16, 16)]


def test_conditions_outside_their_range_are_not_evaluated(model: CountingModel) -> None:
    Guider(model, [condition(3.0), condition(9.0, first_sigma=1.0)], [], 1.0)(X, 2.0)
    assert model.calls[0]["x"] == (2, 4, 16, 16)


def test_no_conditions_at_all_answer_with_zero(model: CountingModel) -> None:
    assert torch.equal(Guider(model, [], [], 5.0)(X, 2.0), torch.zeros_like(X))


def test_a_pack_may_mix_the_answers_itself(model: CountingModel) -> None:
    options = {"sampler_cfg_function": lambda given: given["input"] - given["cond_denoised"]}
    denoised = Guider(model, [condition(3.0)], [condition(1.0)], 5.0, options)(X, 2.0)
    assert torch.equal(denoised, torch.full_like(X, 3.0))


def test_a_pack_may_change_the_mixed_answer(model: CountingModel) -> None:
    options = {"sampler_post_cfg_function": [lambda given: given["denoised"] * 2]}
    denoised = Guider(model, [condition(3.0)], [condition(1.0)], 5.0, options)(X, 2.0)
    assert torch.equal(denoised, torch.full_like(X, 22.0))


def test_a_pack_may_change_the_answers_before_they_are_mixed(model: CountingModel) -> None:
    options = {"sampler_pre_cfg_function": [lambda given: [answer + 1 for answer in given["conds_out"]]]}
    denoised = Guider(model, [condition(3.0)], [condition(1.0)], 5.0, options)(X, 2.0)
    assert torch.equal(denoised, torch.full_like(X, 12.0))


def test_an_area_gets_the_other_sides_answer_on_the_same_crop() -> None:
    area = condition(3.0, area=(8, 8, 0, 0), strength=0.5)
    added = with_counterparts([condition(1.0)], [area])[1]
    assert (added.area, added.strength) == ((8, 8, 0, 0), 0.5)
    assert torch.equal(added.context, condition(1.0).context)


def test_an_area_that_both_sides_have_needs_no_counterpart() -> None:
    own = [condition(1.0), condition(2.0, area=(8, 8, 0, 0))]
    assert with_counterparts(own, [condition(3.0, area=(8, 8, 0, 0))]) == own


def test_a_side_without_a_whole_picture_gets_no_counterparts() -> None:
    own = [condition(1.0, area=(16, 8, 0, 0))]
    assert with_counterparts(own, [condition(3.0, area=(8, 8, 2, 2))]) == own


def test_an_area_fades_over_a_quarter_of_a_long_side() -> None:
    weight = condition(1.0, area=(8, 64, 0, 0)).weight(torch.zeros(1, 4, 8, 128))
    assert (weight < 1).sum().item() == 8 * (64 // 4 - 1)


def test_an_area_outside_the_picture_is_refused() -> None:
    from executor.errors import NodeInputError

    entries = [[torch.zeros(1, 3, 4), {"area": (8, 8, 32, 0)}]]
    with pytest.raises(NodeInputError, match="outside the picture of 128x128 pixels"):
        resolve(entries, X.shape, sampling("eps_sd15"))
