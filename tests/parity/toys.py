"""The toy models of the recordings (numeric README), as MODELs that nodes take. Knows no sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from executor.inference import denoiser
from executor.inference.denoiser import ModelSampling
from executor.inference.devices import CPU
from executor.inference.diffusion import DiffusionModel
from executor.inference.handle import ModelHandle
from executor.inference.latent_formats import SD15
from executor.inference.memory import Memory, Part
from tests.maths.recordings import toy_denoised, toy_network
from tests.parity.nodes import call
from tests.parity.recording import Recording

Settings = dict[str, Any]
PREDICTIONS: dict[str, Callable[[Settings], ModelSampling]] = {
    "EPS": lambda settings: denoiser.discrete_eps(),
    "V_PREDICTION": lambda settings: denoiser.discrete_v(),
    "V_PREDICTION_EDM": lambda settings: denoiser.continuous_edm(denoiser.VPrediction(), **settings),
    "EDM": lambda settings: denoiser.continuous_edm(denoiser.Edm(0.5), **settings),
    "FLOW": lambda settings: denoiser.flow(settings.get("shift", 1.0), settings.get("multiplier", 1000.0)),
    "FLUX": lambda settings: denoiser.flux(settings.get("shift", 1.15)),
    "STABLE_CASCADE": lambda settings: denoiser.cascade(settings.get("shift", 1.0)),
}
"""How model classes are sampled when no node says otherwise, with the settings of their class (tables.json)."""


class ToyDiffusion(DiffusionModel):
    """Answers with the toy denoiser, or through the toy network, instead of a trained one."""

    def __init__(self, sampling: ModelSampling, *, networked: bool) -> None:
        part = Part("toy", "diffusion", nn.Module(), {}, {})
        super().__init__(part=part, sampling=sampling, width=4, latent_format=SD15)
        self.networked = networked
        self.sigmas: list[float] = []  # of each call

    def apply(
        self, x: Tensor, sigma: Tensor, *, context: Tensor, transformer_options: object = None, **conditions: object
    ) -> Tensor:
        """The denoised latent."""
        self.sigmas.append(float(sigma[0]))
        if not self.networked:
            return toy_denoised(x, sigma, context, is_flow=self.sampling.is_flow)
        output = toy_network(self.sampling.calculate_input(sigma, x), self.sampling.timestep(sigma), context)
        return self.sampling.calculate_denoised(sigma, output, x)


def toy_model(recording: Recording, name: str, *, networked: bool = False) -> ModelHandle:
    """A toy MODEL with the model sampling that a recording calls `name`."""
    base, prediction, patch = recording.known("model_sampling")["cases"][name]["config"]
    sampling = PREDICTIONS[prediction](recording.known("tables")["model_classes"][base]["sampling_settings"])
    model = ToyDiffusion(sampling, networked=networked)
    handle = ModelHandle(model=model, family="toy", latent_format=SD15, memory=Memory(recording.device or CPU))
    if patch is None:
        return handle
    node, inputs = patch
    [patched] = call(node, model=handle, **inputs)
    return patched


def zeros(text: object, fallback: tuple[int, ...] = (1, 4, 8, 8)) -> Tensor:
    """The empty latent that a description names: `zeros 1x4x8x8` or `zeros (1, 4, 8, 8)`."""
    digits = "".join(sign if sign.isdigit() else " " for sign in str(text).removeprefix("zeros"))
    return torch.zeros([int(number) for number in digits.split()] or list(fallback))
