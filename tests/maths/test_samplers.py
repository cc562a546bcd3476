"""Every sampler against recorded runs of the toy denoiser, step by step and through the one sampling entry."""

import pytest
import torch

from executor.errors import UnknownName
from executor.inference.conditions import Condition
from executor.inference.guidance import Guider
from executor.inference.noise import prepare_noise
from executor.inference.sample import sample
from executor.inference.samplers import SAMPLER_NAMES, SAMPLERS, sampler
from executor.inference.schedules import ksampler_sigmas
from tests.maths.recordings import cases, described, error, tensors, toy_handle

TRACES = [name for name in cases("samplers_trace") if name.split("/")[1] in SAMPLERS]
VARIANTS = sorted({tuple(key.split("/")) for key in tensors("samplers_variants") if not key.startswith("in/")})
MODELS = list(cases("samplers_models"))
BOUND = 1e-4
SEED = 12345


def bound_of(name: str, sampler_name: str) -> float:
    if sampler_name == "dpm_adaptive" or (name == "vpred_zsnr" and sampler_name == "heun"):
        return 1e-3
    return 5e-4 if sampler_name == "heun" else BOUND


def conditionings(recording: str) -> dict[str, list]:
    found = tensors(recording)
    return {"positive": [[found["in/positive"], {}]], "negative": [[found["in/negative"], {}]]}


@pytest.mark.parametrize("name", TRACES)
def test_each_step_is_the_recorded_one(name: str) -> None:
    case, recorded = cases("samplers_trace")[name], tensors("samplers_trace")
    model, method = toy_handle(case["model"]).model, sampler(case["sampler"])
    sigmas = ksampler_sigmas(model.sampling, case["scheduler"], case["sampler"], case["steps"]).tolist()
    sides = [[Condition(context=recorded[f"in/{side}"])] for side in ("positive", "negative")]
    noise = prepare_noise(torch.zeros(1, 4, 8, 8), case["seed"])
    x = model.sampling.noise_scaling(sigmas[0], noise, torch.zeros_like(noise), max_denoise=True)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    method.run(
        Guider(model, *sides, case["cfg"]),
        x,
        sigmas,
        seed=case["seed"],
        callback=lambda step, x, denoised: seen.append((x[0], denoised[0])),
    )
    bound = bound_of("", case["sampler"])
    assert error(torch.stack([x for x, _ in seen]), recorded[f"{name}/x"]) <= bound
    assert error(torch.stack([denoised for _, denoised in seen]), recorded[f"{name}/x0"]) <= bound


@pytest.mark.parametrize("name", TRACES)
def test_the_final_latent_of_a_trace_is_the_recorded_one(name: str) -> None:
    case = cases("samplers_trace")[name]
    final = sample(
        toy_handle(case["model"]),
        {"samples": torch.zeros(1, 4, 8, 8)},
        seed=case["seed"],
        steps=case["steps"],
        cfg=case["cfg"],
        sampler_name=case["sampler"],
        scheduler=case["scheduler"],
        **conditionings("samplers_trace"),
    )
    assert error(final, tensors("samplers_trace")[f"{name}/final"]) <= bound_of("", case["sampler"])


@pytest.mark.parametrize(("kind", "sampler_name", "variant"), VARIANTS)
def test_a_variant_ends_as_recorded(kind: str, sampler_name: str, variant: str) -> None:
    recorded, case = tensors("samplers_variants"), cases("samplers_variants")[f"*/*/{variant}"]
    model, scheduler = described("samplers_variants")["defaults"][kind]
    given = case.get("latent", "zeros 1x4x8x8")
    shape = [int(size) for size in given.split()[-1].split("x")] if given.startswith("zeros") else []
    latent = {"samples": torch.zeros(shape) if shape else recorded[given]}
    if "mask_" in case:
        latent["noise_mask"] = recorded[case["mask_"]]
    window = {}
    if case.get("advanced"):
        window = {
            "disable_noise": not case.get("add_noise", True),
            "start_step": case.get("start", 0),
            "last_step": case.get("end", 10000),
            "force_full_denoise": not case.get("leftover", False),
        }
    final = sample(
        toy_handle(model),
        latent,
        seed=SEED,
        steps=case.get("steps", 8),
        cfg=case.get("cfg", 5.0),
        sampler_name=sampler_name,
        scheduler=scheduler,
        denoise=case.get("denoise", 1.0),
        **conditionings("samplers_variants"),
        **window,
    )
    assert error(final, recorded[f"{kind}/{sampler_name}/{variant}"]) <= bound_of("", sampler_name)


@pytest.mark.parametrize("name", MODELS)
def test_other_kinds_of_model_end_as_recorded(name: str) -> None:
    case = cases("samplers_models")[name]
    final = sample(
        toy_handle(case["model"], networked=case.get("toy") == "N"),
        {"samples": torch.zeros(1, 4, 8, 8)},
        seed=case["seed"],
        steps=case["steps"],
        cfg=case["cfg"],
        sampler_name=case["sampler"],
        scheduler=case["scheduler"],
        **conditionings("samplers_models"),
    )
    assert error(final, tensors("samplers_models")[name]) <= bound_of(case["model"], case["sampler"])


def test_sampler_names_are_in_the_recorded_order() -> None:
    assert list(SAMPLER_NAMES) == described("tables")["sampler_names"]


def test_an_unknown_sampler_names_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'euler_ancestral'"):
        sampler("euler_ancestrall")


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_no_steps_leave_the_latent_as_it_is(name: str) -> None:
    x = torch.ones(1, 4, 8, 8)
    assert sampler(name).run(toy_handle("eps_sd15").model, x, [14.6]) is x
