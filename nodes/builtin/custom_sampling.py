"""Nodes that sample from parts given one by one, and the noise they start from. The maths is executor.inference's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from executor.inference.guider import CFGGuider, method_of
from executor.inference.noise import prepare_noise
from executor.inference.sample import fitted_channels, prepare_callback, sample_conds
from executor.inference.samplers import Sampler
from executor.inference.values import Conditioning, Latent
from nodes.builtin.inputs import InputTypes, decimal, flag, seed, socket

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

PACK = "comfy_extras.nodes_custom_sampler"
NOISES = "sampling/custom_sampling/noise"


class Noise(Protocol):
    """What travels as NOISE; packs bring their own."""

    seed: int

    def generate_noise(self, input_latent: Latent) -> Tensor:
        """Unit noise in the shape of the latents."""
        ...


class SeededNoise:
    """Noise drawn on the CPU from a 64-bit seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def generate_noise(self, input_latent: Latent) -> Tensor:
        """Unit noise [B, C, H, W]; with `batch_index` that of these places of a larger batch."""
        return prepare_noise(input_latent["samples"], self.seed, input_latent.get("batch_index"))


class NoNoise:
    """Zeros in the place of noise."""

    def __init__(self) -> None:
        self.seed = 0

    def generate_noise(self, input_latent: Latent) -> Tensor:
        """Zeros [B, C, H, W] on the CPU."""
        return torch.zeros_like(input_latent["samples"], device="cpu")


class RandomNoise:
    """Noise from a seed."""

    PACK = PACK
    CATEGORY = NOISES
    RETURN_TYPES = ("NOISE",)
    FUNCTION = "get_noise"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"noise_seed": seed()}}

    def get_noise(self, noise_seed: int) -> tuple[Noise]:
        """The source of noise."""
        return (SeededNoise(noise_seed),)


class DisableNoise:
    """No noise: for latents that have theirs."""

    PACK = PACK
    CATEGORY = NOISES
    RETURN_TYPES = ("NOISE",)
    FUNCTION = "get_noise"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """No inputs."""
        return {"required": {}}

    def get_noise(self) -> tuple[Noise]:
        """A source of zeros."""
        return (NoNoise(),)


class AddNoise:
    """Puts noise on latents, as much as a sampling over these levels would take off."""

    PACK = PACK
    CATEGORY = "_for_testing/custom_sampling/noise"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "add_noise"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "noise": socket("NOISE"),
                "sigmas": socket("SIGMAS"),
                "latent_image": socket("LATENT"),
            }
        }

    def add_noise(self, model: ModelHandle, noise: Noise, sigmas: Tensor, latent_image: Latent) -> tuple[Latent]:
        """The noised latents; of no levels the given ones."""
        if not len(sigmas):
            return (latent_image,)
        samples = fitted_channels(latent_image["samples"], model.latent_format)
        drawn = noise.generate_noise({**latent_image, "samples": samples})
        sigma = abs(float(sigmas[0] - sigmas[-1])) if len(sigmas) > 1 else float(sigmas[0])
        start = model.latent_format.process_in(samples) if bool(samples.any()) else samples
        noised = model.latent_format.process_out(model.model_sampling.noise_scaling(sigma, drawn, start))
        return ({**latent_image, "samples": noised.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)},)


class SamplerCustom:
    """Samples with a method and noise levels given, led by a positive and a negative conditioning."""

    PACK = PACK
    CATEGORY = "sampling/custom_sampling"
    RETURN_TYPES = ("LATENT", "LATENT")
    RETURN_NAMES = ("output", "denoised_output")
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "add_noise": flag(default=True),
                "noise_seed": seed(),
                "cfg": decimal(8.0, 0.0, 100.0, 0.1, round=0.01),
                "positive": socket("CONDITIONING"),
                "negative": socket("CONDITIONING"),
                "sampler": socket("SAMPLER"),
                "sigmas": socket("SIGMAS"),
                "latent_image": socket("LATENT"),
            }
        }

    def sample(
        self,
        model: ModelHandle,
        add_noise: bool,
        noise_seed: int,
        cfg: float,
        positive: Conditioning,
        negative: Conditioning,
        sampler: Sampler,
        sigmas: Tensor,
        latent_image: Latent,
    ) -> tuple[Latent, Latent]:
        """The latents after the last level, and what the last step took for the finished picture."""
        latent: Latent = {**latent_image, "samples": fitted_channels(latent_image["samples"], model.latent_format)}
        noise = (SeededNoise(noise_seed) if add_noise else NoNoise()).generate_noise(latent)
        seen: dict[str, Tensor] = {}
        samples = sample_conds(
            model,
            noise,
            positive,
            negative,
            cfg,
            model.load_device,
            method_of(sampler),
            sigmas,
            latent_image=latent["samples"],
            denoise_mask=latent.get("noise_mask"),
            callback=prepare_callback(model, len(sigmas) - 1, seen),
            seed=noise_seed,
        )
        return _both(model, latent, samples, seen)


class SamplerCustomAdvanced:
    """Samples with noise, guidance, a method and noise levels given."""

    PACK = PACK
    CATEGORY = "sampling/custom_sampling"
    RETURN_TYPES = ("LATENT", "LATENT")
    RETURN_NAMES = ("output", "denoised_output")
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "noise": socket("NOISE"),
                "guider": socket("GUIDER"),
                "sampler": socket("SAMPLER"),
                "sigmas": socket("SIGMAS"),
                "latent_image": socket("LATENT"),
            }
        }

    def sample(
        self, noise: Noise, guider: CFGGuider, sampler: Sampler, sigmas: Tensor, latent_image: Latent
    ) -> tuple[Latent, Latent]:
        """The latents after the last level, and what the last step took for the finished picture."""
        model = guider.model_patcher
        latent: Latent = {**latent_image, "samples": fitted_channels(latent_image["samples"], model.latent_format)}
        seen: dict[str, Tensor] = {}
        samples = guider.sample(
            noise.generate_noise(latent),
            latent["samples"],
            sampler,
            sigmas,
            denoise_mask=latent.get("noise_mask"),
            callback=prepare_callback(model, len(sigmas) - 1, seen),
            disable_pbar=False,
            seed=noise.seed,
        )
        return _both(model, latent, samples, seen)


def _both(model: ModelHandle, latent: Latent, samples: Tensor, seen: dict[str, Tensor]) -> tuple[Latent, Latent]:
    finished: Latent = {**latent, "samples": samples}
    if "x0" not in seen:
        return finished, finished
    return finished, {**latent, "samples": model.latent_format.process_out(seen["x0"].cpu())}


NODES = (RandomNoise, DisableNoise, AddNoise, SamplerCustom, SamplerCustomAdvanced)
