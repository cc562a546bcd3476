"""Compares samplings of toy models: samplers_trace, samplers_variants, samplers_models, guiders."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from executor.inference.conditions import Condition
from executor.inference.guidance import Guider
from executor.inference.handle import ModelHandle
from executor.inference.noise import prepare_noise
from executor.inference.samplers import sampler
from executor.inference.schedules import ksampler_sigmas
from tests.parity.nodes import call
from tests.parity.recording import Check, Figure, Recording, relative
from tests.parity.toys import toy_model, zeros

BOUND = 1e-4
ROUNDED = 1e-3
"""A Brownian path moves by the root of a last digit of a level; MKL rounds tan and exp by processor."""
Case = Mapping[str, Any]


def bound_of(method: str, file: str = "", model: str = "") -> float:
    """How far a method may be off (numeric README, tolerances)."""
    adaptive = method in ("dpm_adaptive", "SamplerDPMAdaptative")
    if adaptive or (file == "samplers_models" and model == "vpred_zsnr" and method == "heun"):
        return 1e-3
    return 5e-4 if file == "samplers_models" and method == "heun" else BOUND


def checks(recording: Recording) -> Iterator[Check]:
    """Every case of these files."""
    for file, compare in (("samplers_trace", trace), ("samplers_models", other_model)):
        for name in recording.cases(file):
            yield Check(file=file, name=name, measure=partial(compare, recording, name))
    for key in recording.tensors("samplers_variants"):
        if not key.startswith("in/"):
            yield Check(file="samplers_variants", name=key, measure=partial(variant, recording, key))
    for name in recording.cases("guiders"):
        compare = added_noise if name.startswith("AddNoise/") else guided
        yield Check(file="guiders", name=name, measure=partial(compare, recording, name))


def side(recording: Recording, file: str, name: str) -> list[list[object]]:
    """A recorded CONDITIONING."""
    return [[recording.tensor(file, f"in/{name}"), {}]]


def sides(recording: Recording, file: str) -> dict[str, Any]:
    """Both recorded sides."""
    return {name: side(recording, file, name) for name in ("positive", "negative")}


def sampled(recording: Recording, file: str, model: ModelHandle, case: Case, latent: dict[str, Tensor]) -> Tensor:
    """What a KSampler makes of a case."""
    inputs = {key: case[key] for key in ("seed", "steps", "cfg", "scheduler")}
    [result] = call(
        "KSampler",
        model=model,
        sampler_name=case["sampler"],
        denoise=case.get("denoise", 1.0),
        latent_image=latent,
        **inputs,
        **sides(recording, file),
    )
    return result["samples"]


def trace(recording: Recording, name: str) -> Iterator[Figure]:
    """Every step of a sampler, the levels it calls the model at, and where it ends."""
    file = "samplers_trace"
    case, bound = recording.cases(file)[name], bound_of(recording.cases(file)[name]["sampler"])
    handle = toy_model(recording, case["model"])
    sampling, model = handle.model_sampling, handle.model
    sigmas = ksampler_sigmas(sampling, case["scheduler"], case["sampler"], case["steps"]).tolist()
    conditions = [[Condition(context=recording.tensor(file, f"in/{each}"))] for each in ("positive", "negative")]
    noise = prepare_noise(zeros(case["latent"]), case["seed"])
    x = sampling.noise_scaling(sigmas[0], noise, torch.zeros_like(noise), max_denoise=True)
    seen: list[tuple[Tensor, Tensor]] = []
    sampler(case["sampler"]).run(
        Guider(model, *conditions, case["cfg"]),
        x,
        sigmas,
        seed=case["seed"],
        callback=lambda step, x, denoised: seen.append((x[0], denoised[0])),
    )
    for part, index in (("x", 0), ("x0", 1)):
        found = torch.stack([step[index] for step in seen])
        yield relative(part, found, recording.tensor(file, f"{name}/{part}"), bound)
    yield relative("sigma_of_calls", torch.tensor(model.sigmas), torch.tensor(case["sigma_of_calls"]), bound)
    final = sampled(recording, file, toy_model(recording, case["model"]), case, {"samples": zeros(case["latent"])})
    yield relative("final", final, recording.tensor(file, f"{name}/final"), bound)


def other_model(recording: Recording, name: str) -> Iterator[Figure]:
    """Where a sampler ends on a model sampled otherwise."""
    file = "samplers_models"
    case = {**recording.described(file).get("defaults", {}), **recording.cases(file)[name]}
    handle = toy_model(recording, case["model"], networked=case.get("toy") == "N")
    found = sampled(recording, file, handle, case, {"samples": zeros(case["latent"])})
    bound = bound_of(case["sampler"], file, case["model"])
    if "_sde" in case["sampler"] and not same_digits(recording, case["model"]):
        bound = max(bound, ROUNDED)
    yield relative("final", found, recording.tensor(file, name), bound)


def same_digits(recording: Recording, model: str) -> bool:
    """Whether this processor's exp, log and tan round a model's noise levels as the recording one's did."""
    if f"{model}/timestep_in" not in recording.tensors("model_sampling"):
        return True
    part = partial(recording.tensor, "model_sampling")
    sampling = toy_model(recording, model).model_sampling
    sigmas, times = sampling.sigma(part(f"{model}/timestep_in")), sampling.timestep(part(f"{model}/sigma_in"))
    same = torch.equal(sigmas, part(f"{model}/sigma_of_timestep"))
    return same and torch.equal(times, part(f"{model}/timestep_of_sigma"))


def variant(recording: Recording, key: str) -> Iterator[Figure]:
    """Where a sampler ends from other latents, under a mask, or in a window of its steps."""
    file = "samplers_variants"
    kind, method, name = key.split("/", 2)
    defaults = recording.described(file)["defaults"]
    case = {**defaults, **recording.cases(file)[f"*/*/{name}"], "sampler": method}
    model, case["scheduler"] = defaults[kind]
    given = case["latent"]
    latent = {"samples": zeros(given) if given.startswith("zeros") else recording.tensor(file, given)}
    if "mask_" in case:
        latent["noise_mask"] = recording.tensor(file, case["mask_"])
    run = windowed if case.get("advanced") else sampled
    found = run(recording, file, toy_model(recording, model), case, latent)
    yield relative("final", found, recording.tensor(file, key), bound_of(method))


def windowed(recording: Recording, file: str, model: ModelHandle, case: Case, latent: dict[str, Tensor]) -> Tensor:
    """What a KSamplerAdvanced makes of a case."""
    switch = {True: "enable", False: "disable"}
    [result] = call(
        "KSamplerAdvanced",
        model=model,
        add_noise=switch[case.get("add_noise", True)],
        noise_seed=case["seed"],
        steps=case["steps"],
        cfg=case["cfg"],
        sampler_name=case["sampler"],
        scheduler=case["scheduler"],
        latent_image=latent,
        start_at_step=case.get("start", 0),
        end_at_step=case.get("end", 10000),
        return_with_leftover_noise=switch[case.get("leftover", False)],
        **sides(recording, file),
    )
    return result["samples"]


def latent_of(recording: Recording, case: Case) -> dict[str, Any]:
    """The latents of a case of guiders: zeros, or recorded ones, under a mask or at places of a batch."""
    text = str(case["latent"])
    named = re.search(r"latent\d+", text)
    samples = recording.tensor("guiders", f"in/{named[0]}") if named else zeros(text)
    latent: dict[str, Any] = {"samples": samples}
    if "mask" in text:
        latent["noise_mask"] = recording.tensor("guiders", "in/mask")
    if "batch_index" in case:
        latent["samples"] = samples[:1].expand(len(case["batch_index"]), -1, -1, -1).clone()
        latent["batch_index"] = case["batch_index"]
    return latent


def levels_of(recording: Recording, case: Case) -> Tensor:
    """The noise levels of a case of guiders: all of them, or one end of a table cut in two."""
    table = recording.tensor("guiders", case["sigmas"])
    cut = re.match(r"(low|high).*step=(\d+)", str(case.get("sigmas_", "")))
    if cut is None:
        return table
    high, low = call("SplitSigmas", sigmas=table, step=int(cut[2]))
    return low if cut[1] == "low" else high


def guider_of(recording: Recording, model: ModelHandle, case: Case) -> object:
    """The GUIDER of a case: one by that name, or a plain one around a MODEL changed by the case's node."""
    entry = partial(side, recording, "guiders")
    node = case.get("node", "")
    scale = case.get("cfg", 1.0)
    match node:
        case "BasicGuider":
            return call(node, model=model, conditioning=entry("positive"))[0]
        case "DualCFGGuider":
            named = {name: entry(case[name]) for name in ("cond1", "cond2")}
            numbers = {name: case[name] for name in ("cfg_conds", "cfg_cond2_negative", "style")}
            return call(node, model=model, negative=entry("negative"), **named, **numbers)[0]
        case "PerpNegGuider":
            given = {"empty_conditioning": entry("empty"), "neg_scale": case["neg_scale"], "cfg": scale}
            return call(node, model=model, **sides(recording, "guiders"), **given)[0]
    if node and "CFGGuider" not in node and not is_method(case):
        [model, *_] = call(node, model=model, **case.get("inputs", {}))
    return call("CFGGuider", model=model, cfg=scale, **sides(recording, "guiders"))[0]


def is_method(case: Case) -> bool:
    """Whether the node of a case makes a SAMPLER."""
    return str(case.get("node", "")).startswith("Sampler")


def method_of(recording: Recording, model: ModelHandle, case: Case) -> object:
    """The SAMPLER of a case, with its options."""
    if not is_method(case):
        return call("KSamplerSelect", sampler_name=case["sampler"])[0]
    inputs = {key: toy_model(recording, value) if key == "model" else value for key, value in case["inputs"].items()}
    return call(case["node"], **inputs)[0]


def guided(recording: Recording, name: str) -> Iterator[Figure]:
    """Both outputs of a sampling put together of nodes."""
    case = {**recording.described("guiders")["defaults"], **recording.cases("guiders")[name]}
    model = toy_model(recording, case["model"])
    common = {"sampler": method_of(recording, model, case), "sigmas": levels_of(recording, case)}
    common["latent_image"] = latent_of(recording, case)
    if "add_noise" in case:
        given = {"add_noise": case["add_noise"], "noise_seed": case["seed"], "cfg": case["cfg"]}
        results = call("SamplerCustom", model=model, **given, **sides(recording, "guiders"), **common)
    else:
        disabled = "DisableNoise" in str(case.get("node"))
        [noise] = call("DisableNoise") if disabled else call("RandomNoise", noise_seed=case["seed"])
        guider = guider_of(recording, model, case)
        results = call("SamplerCustomAdvanced", noise=noise, guider=guider, **common)
    bound = bound_of(str(case.get("node", "")))
    for part, result in zip(("out", "denoised"), results, strict=True):
        yield relative(part, result["samples"], recording.tensor("guiders", f"{name}/{part}"), bound)


def added_noise(recording: Recording, name: str) -> Iterator[Figure]:
    """Latents with noise of a level, or of the distance of two."""
    case = recording.cases("guiders")[name]
    defaults = recording.described("guiders")["defaults"]
    first, _, last = case["sigmas"].strip("[]").partition(":")
    table = recording.tensor("guiders", defaults["sigmas"])
    sigmas = table if case["sigmas"] == "all" else table[int(first) : int(last)]
    [noise] = call("RandomNoise", noise_seed=defaults["seed"])
    latent = latent_of(recording, case)
    model = toy_model(recording, defaults["model"])
    [found] = call("AddNoise", model=model, noise=noise, sigmas=sigmas, latent_image=latent)
    yield relative("out", found["samples"], recording.tensor("guiders", name), BOUND)
