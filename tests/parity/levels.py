"""Compares noise levels, predictions and noise: sigmas, model_sampling, scheduler_nodes, noise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from executor.inference.noise import brownian_noise, prepare_noise, step_noise
from executor.inference.schedules import calculate_sigmas, ksampler_sigmas
from tests.parity.nodes import call
from tests.parity.recording import Check, Figure, Recording, absolute, exact, relative
from tests.parity.toys import toy_model, zeros

TIGHT = 2e-6
BROWNIAN = 1e-5


def checks(recording: Recording) -> Iterator[Check]:
    """Every case of these files."""
    skipped = set(recording.described("sigmas").get("nonfinite", ()))
    for key in recording.tensors("sigmas"):
        if key not in skipped:
            yield Check(file="sigmas", name=key, measure=partial(schedule, recording, key))
    for name in recording.cases("model_sampling"):
        yield Check(file="model_sampling", name=name, measure=partial(model_sampling, recording, name))
    for name in recording.cases("scheduler_nodes"):
        yield Check(file="scheduler_nodes", name=name, measure=partial(scheduler_node, recording, name))
    for name in recording.cases("noise"):
        kind = name.split("/")[0]
        yield Check(file="noise", name=name, measure=partial(NOISES[kind], recording, name))


def schedule(recording: Recording, key: str) -> Iterator[Figure]:
    """A scheduler's levels, or those that a KSampler makes of them."""
    recorded = recording.tensor("sigmas", key)
    if key.startswith("ks/"):
        _, name, scheduler, sampler, steps, denoise = key.split("/")
        sampling = toy_model(recording, name).model_sampling
        found = ksampler_sigmas(sampling, scheduler, sampler, int(steps), float(denoise))
    else:
        name, scheduler, steps = key.split("/")
        found = calculate_sigmas(toy_model(recording, name).model_sampling, scheduler, int(steps))
    yield relative("sigmas", found, recorded, TIGHT)


def model_sampling(recording: Recording, name: str) -> Iterator[Figure]:
    """Tables, conversions of times, and what each prediction makes of numbers."""
    case, sampling = recording.cases("model_sampling")[name], toy_model(recording, name).model_sampling
    part = partial(recording.tensor, "model_sampling")
    table = sampling.sigmas
    yield exact("table_len", len(table), case["table_len"])
    picked = torch.cat([table[:: case["idx_step"]], table[-1:]])
    yield relative("table", picked, part(f"{name}/table"), TIGHT)
    timesteps, recorded = sampling.timestep(part(f"{name}/sigma_in")), part(f"{name}/timestep_of_sigma")
    yield exact("timestep type", timesteps.dtype, recorded.dtype)
    bound = TIGHT if recorded.is_floating_point() else 0.0
    yield relative("timestep_of_sigma", timesteps.double(), recorded.double(), bound)
    sigmas = sampling.sigma(part(f"{name}/timestep_in"))
    yield relative("sigma_of_timestep", sigmas, part(f"{name}/sigma_of_timestep"), TIGHT)
    for percent, wanted in zip(case["percents"], case["percent_to_sigma"], strict=True):
        found = sampling.percent_to_sigma(percent)
        yield Figure(part=f"percent {percent}", error=abs(found - wanted) / max(abs(wanted), 1e-6), bound=TIGHT)
    for key in ("sigma_min", "sigma_max"):
        yield Figure(part=key, error=abs(sampling_end(sampling, key) - case[key]) / case[key], bound=TIGHT)
    yield exact("sigma_data", sampling.sigma_data, case["sigma_data"])
    numbers = {key.split("/")[1] for key in recording.tensors("model_sampling") if key.startswith(f"{name}/conv")}
    for conversion in sorted(numbers):
        yield from conversions(recording, name, conversion)


def sampling_end(sampling: Any, key: str) -> float:
    """The first or last level of the table."""
    return float(sampling.sigmas[0 if key == "sigma_min" else -1])


def conversions(recording: Recording, name: str, conversion: str) -> Iterator[Figure]:
    """Network input, prediction and noising at one noise level."""
    sampling, part = toy_model(recording, name).model_sampling, partial(recording.tensor, "model_sampling")
    sigma, x, latent = part(f"{name}/{conversion}/sigma"), part("in/x"), part("in/latent")
    one = float(sigma[0])
    found = {
        "calculate_input": sampling.calculate_input(sigma, x),
        "calculate_denoised": sampling.calculate_denoised(sigma, part("in/model_output"), x),
        "noise_scaling": sampling.noise_scaling(one, x, latent, max_denoise=False),
        "noise_scaling_max": sampling.noise_scaling(one, x, latent, max_denoise=True),
        "inverse_noise_scaling": sampling.inverse_noise_scaling(one, latent),
    }
    for what, tensor in found.items():
        yield relative(f"{conversion}/{what}", tensor, part(f"{name}/{conversion}/{what}"), TIGHT)


def scheduler_node(recording: Recording, name: str) -> Iterator[Figure]:
    """What a node makes of noise levels."""
    case = recording.cases("scheduler_nodes")[name]
    inputs = {key: given(recording, key, value) for key, value in case["inputs"].items()}
    for part, result in zip(case["outputs"], call(case["node"], **inputs), strict=True):
        recorded = recording.tensor("scheduler_nodes", f"{name}/{part}")
        yield relative(part, torch.as_tensor(result, dtype=recorded.dtype).reshape(-1), recorded.reshape(-1), TIGHT)


def given(recording: Recording, name: str, value: object) -> object:
    """An input of a node that makes levels."""
    if name == "model":
        return toy_model(recording, str(value))
    key = str(value).removeprefix("tensor ")
    return recording.tensor("scheduler_nodes", key) if str(value).startswith("tensor ") else value


def prepared(recording: Recording, name: str) -> Iterator[Figure]:
    """Start noise, bit for bit."""
    case, recorded = recording.cases("noise")[name], recording.tensor("noise", name)
    latent = torch.zeros(case["shape"], dtype=recorded.dtype)
    found = prepare_noise(latent, int(case["seed"]), case.get("batch_index"))
    yield exact("dtype", found.dtype, recorded.dtype)
    yield absolute("noise", found, recorded, 0.0)


def of_node(recording: Recording, name: str) -> Iterator[Figure]:
    """What travels as NOISE, bit for bit."""
    case = recording.cases("noise")[name]
    disabled = name.endswith("disabled")
    [noise] = call("DisableNoise") if disabled else call("RandomNoise", noise_seed=int(case["seed"]))
    found = noise.generate_noise({"samples": torch.zeros(case["shape"])})
    yield absolute("noise", found, recording.tensor("noise", name), 0.0)


def of_steps(recording: Recording, name: str) -> Iterator[Figure]:
    """The draws of an ancestral sampler, bit for bit."""
    case, recorded = recording.cases("noise")[name], recording.tensor("noise", name)
    source = step_noise(torch.zeros(recorded.shape[1:]), int(case["seed"]))
    yield absolute("draws", torch.stack([source(1.0, 0.5) for _ in range(case["draws"])]), recorded, 0.0)


def of_path(recording: Recording, name: str) -> Iterator[Figure]:
    """Increments of a Brownian path between levels, and half of the way."""
    case = recording.cases("noise")[name]
    table = recording.tensor("noise", case["sigmas"])
    sigmas, middles = table.tolist(), (table[:-1] * table[1:]).sqrt().tolist()
    source = brownian_noise(zeros("", tuple(case["shape"])), int(case["seed"]), sigmas)
    recorded = recording.tensor("noise", name)
    steps = list(zip(sigmas, sigmas[1:], middles, strict=False))[: len(recorded)]
    whole = torch.stack([source(sigma, following) for sigma, following, _ in steps])
    half = torch.stack([source(sigma, middle) for sigma, _, middle in steps])
    yield absolute("whole", whole, recorded, BROWNIAN)
    yield absolute("mid", half, recording.tensor("noise", f"{name}/mid"), BROWNIAN)


NOISES = {"prepare": prepared, "node": of_node, "default": of_steps, "brownian": of_path}
