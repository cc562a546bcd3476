"""Samplings put together of nodes give the recorded latents (reference/numeric, guiders)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from executor.errors import NodeInputError
from nodes.builtin import guiders, sampler_methods
from nodes.builtin.custom_sampling import AddNoise, DisableNoise, RandomNoise, SamplerCustom, SamplerCustomAdvanced
from nodes.builtin.sigmas import SplitSigmas
from tests.maths.recordings import ToyHandle, cases, error, tensors, toy_handle

FILE = "guiders"
SEED = 12345
METHODS = {cls.__name__: cls for cls in sampler_methods.NODES}


def part(name: str) -> Tensor:
    return tensors(FILE)[f"in/{name}"].clone()


def side(name: str) -> list[list[object]]:
    return [[part(name), {}]]


def euler() -> object:
    return sampler_methods.KSamplerSelect().get_sampler("euler")[0]


@pytest.fixture
def model() -> ToyHandle:
    return toy_handle("eps_sd15")


def cfg_guider(model: ToyHandle, cfg: float = 4.0) -> object:
    return guiders.CFGGuider().get_guider(model, side("positive"), side("negative"), cfg)[0]


def off(name: str, results: tuple[dict[str, Tensor], ...]) -> float:
    """How far both outputs are from the recorded ones."""
    recorded = (tensors(FILE)[f"{name}/{output}"] for output in ("out", "denoised"))
    return max(error(result["samples"], expected) for result, expected in zip(results, recorded, strict=True))


def sampled(guider: object, **other: object) -> tuple[dict[str, Tensor], ...]:
    given = {"noise": RandomNoise().get_noise(SEED)[0], "sampler": euler(), "sigmas": part("sigmas")}
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    return SamplerCustomAdvanced().sample(**{**given, "guider": guider, "latent_image": latent, **other})


@pytest.mark.parametrize("name", ["cfg", "cfg1"])
def test_a_scale(model: ToyHandle, name: str) -> None:
    assert off(name, sampled(cfg_guider(model, cases(FILE)[name]["cfg"]))) <= 1e-4


def test_one_side_alone(model: ToyHandle) -> None:
    [guider] = guiders.BasicGuider().get_guider(model, side("positive"))
    assert off("basic", sampled(guider)) <= 1e-4


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_two_scales(model: ToyHandle, style: str) -> None:
    sides = side("positive"), side("middle"), side("negative")
    [guider] = guiders.DualCFGGuider().get_guider(model, *sides, 4.0, 2.5, style)
    assert off(f"dual_{style}", sampled(guider)) <= 1e-4


def test_the_part_of_the_negative_side_beyond_the_positive_one(model: ToyHandle) -> None:
    sides = side("positive"), side("negative"), side("empty")
    [guider] = guiders.PerpNegGuider().get_guider(model, *sides, 4.0, 1.3)
    assert off("perpneg", sampled(guider)) <= 1e-4


def test_latents_with_their_noise(model: ToyHandle) -> None:
    [noise] = DisableNoise().get_noise()
    outcome = sampled(cfg_guider(model), noise=noise, latent_image={"samples": part("latent1")})
    assert off("disable_noise", outcome) <= 1e-4


def test_places_of_a_larger_batch(model: ToyHandle) -> None:
    latent = {"samples": torch.zeros(2, 4, 8, 8), "batch_index": [3, 1]}
    assert off("batch_index", sampled(cfg_guider(model), latent_image=latent)) <= 1e-4


def test_a_sampling_cut_in_two(model: ToyHandle) -> None:
    high, low = SplitSigmas().get_sigmas(part("sigmas"), 3)
    assert off("split_high", sampled(cfg_guider(model), sigmas=high)) <= 1e-4
    outcome = sampled(cfg_guider(model), sigmas=low, latent_image={"samples": part("latent1")})
    assert off("split_low", outcome) <= 1e-4


@pytest.mark.parametrize("name", [name for name in cases(FILE) if name.split("/")[0] in METHODS])
def test_a_method_with_options(model: ToyHandle, name: str) -> None:
    case = cases(FILE)[name]
    inputs = {key: model if key == "model" else value for key, value in case["inputs"].items()}
    [method] = METHODS[case["node"]]().get_sampler(**inputs)
    assert off(name, sampled(cfg_guider(model), sampler=method)) <= (1e-3 if "Adaptative" in name else 1e-4)


def test_sampling_without_a_guider(model: ToyHandle) -> None:
    latent = {"samples": torch.zeros(1, 4, 8, 8), "kept": "as it is"}
    sides = side("positive"), side("negative")
    outcome = SamplerCustom().sample(model, True, SEED, 4.0, *sides, euler(), part("sigmas"), latent)
    assert off("SamplerCustom", outcome) <= 1e-4
    assert outcome[0]["kept"] == outcome[1]["kept"] == "as it is"


@pytest.mark.parametrize(("name", "window"), [("0", slice(None)), ("1", slice(2, 4)), ("2", slice(1, 2))])
def test_noise_put_on_latents(model: ToyHandle, name: str, window: slice) -> None:
    [noise] = RandomNoise().get_noise(SEED)
    [latent] = AddNoise().add_noise(model, noise, part("sigmas")[window], {"samples": part("latent1")})
    assert error(latent["samples"], tensors(FILE)[f"AddNoise/{name}"]) <= 1e-4


def test_no_levels_leave_latents_as_they_are(model: ToyHandle) -> None:
    latent = {"samples": part("latent1")}
    first, second = sampled(cfg_guider(model), sigmas=torch.empty(0), latent_image=latent)
    assert torch.equal(first["samples"], latent["samples"])
    assert torch.equal(second["samples"], latent["samples"])


def test_a_path_on_the_latents_device_is_a_method_of_its_own() -> None:
    [method] = sampler_methods.SamplerDPMPP_3M_SDE().get_sampler(1.0, 1.0, "gpu")
    assert method.name == "dpmpp_3m_sde_gpu"


def test_what_is_no_method_is_refused(model: ToyHandle) -> None:
    with pytest.raises(NodeInputError, match="a SAMPLER is expected, not str"):
        sampled(cfg_guider(model), sampler="euler")


def test_mixing_of_several_sides_hears_what_packs_put_after_it(model: ToyHandle) -> None:
    sides = side("positive"), side("middle"), side("negative")
    model.model_options["sampler_post_cfg_function"] = [lambda given: torch.zeros_like(given["denoised"])]
    [guider] = guiders.DualCFGGuider().get_guider(model, *sides, 4.0, 2.5, "regular")
    assert not sampled(guider)[1]["samples"].any()
