"""Nodes that sample: noise in, latents out. The maths is executor.inference.sample; here is only what nodes declare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.inference.sample import sample
from executor.inference.samplers import SAMPLER_NAMES
from executor.inference.schedules import SCHEDULER_NAMES
from executor.inference.values import Conditioning, Latent
from nodes.builtin.inputs import InputTypes, choice, decimal, integer, seed, socket

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle

MOST_STEPS = 10000


class KSampler:
    """Samples latents with one seed for all noise."""

    CATEGORY = "sampling"
    DESCRIPTION = "Draws: takes the noise out of latents step by step, led by the positive and negative conditioning."
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The finished latents.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        cfg = "How strictly the picture follows the text; high values burn colours."
        part = "How much of the picture is drawn anew; below 1 the given latents show through."
        return {
            "required": {
                "model": socket("MODEL", "The diffusion model."),
                "seed": seed("Where the random numbers start: the same seed gives the same picture."),
                "steps": integer(20, 1, MOST_STEPS, tooltip="How many steps the noise is taken out in."),
                "cfg": decimal(8.0, 0.0, 100.0, 0.1, round=0.01, tooltip=cfg),
                "sampler_name": choice(SAMPLER_NAMES, tooltip="The method of one step."),
                "scheduler": choice(SCHEDULER_NAMES, tooltip="How the noise levels are spread over the steps."),
                "positive": socket("CONDITIONING", "What the picture should show."),
                "negative": socket("CONDITIONING", "What it should not show."),
                "latent_image": socket("LATENT", "The latents to start from."),
                "denoise": decimal(1.0, 0.0, 1.0, tooltip=part),
            }
        }

    def sample(
        self,
        model: ModelHandle,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        denoise: float = 1.0,
    ) -> tuple[Latent]:
        """The sampled latents; other entries of the given ones stay."""
        samples = sample(
            model,
            latent_image,
            seed=seed,
            steps=steps,
            cfg=cfg,
            sampler_name=sampler_name,
            scheduler=scheduler,
            positive=positive,
            negative=negative,
            denoise=denoise,
        )
        return ({**latent_image, "samples": samples},)


class KSamplerAdvanced:
    """Samples a part of the steps, with or without noise at either end."""

    DISPLAY_NAME = "KSampler (Advanced)"
    CATEGORY = "sampling"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "add_noise": choice(["enable", "disable"]),
                "noise_seed": seed(),
                "steps": integer(20, 1, MOST_STEPS),
                "cfg": decimal(8.0, 0.0, 100.0, 0.1, round=0.01),
                "sampler_name": choice(SAMPLER_NAMES),
                "scheduler": choice(SCHEDULER_NAMES),
                "positive": socket("CONDITIONING"),
                "negative": socket("CONDITIONING"),
                "latent_image": socket("LATENT"),
                "start_at_step": integer(0, 0, MOST_STEPS),
                "end_at_step": integer(MOST_STEPS, 0, MOST_STEPS),
                "return_with_leftover_noise": choice(["disable", "enable"]),
            }
        }

    def sample(
        self,
        model: ModelHandle,
        add_noise: str,
        noise_seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Conditioning,
        negative: Conditioning,
        latent_image: Latent,
        start_at_step: int,
        end_at_step: int,
        return_with_leftover_noise: str,
        denoise: float = 1.0,
    ) -> tuple[Latent]:
        """The latents after `end_at_step`; leftover noise stays in when it is asked for."""
        samples = sample(
            model,
            latent_image,
            seed=noise_seed,
            steps=steps,
            cfg=cfg,
            sampler_name=sampler_name,
            scheduler=scheduler,
            positive=positive,
            negative=negative,
            denoise=denoise,
            disable_noise=add_noise == "disable",
            start_step=start_at_step,
            last_step=end_at_step,
            force_full_denoise=return_with_leftover_noise != "enable",
        )
        return ({**latent_image, "samples": samples},)


NODES = (KSampler, KSamplerAdvanced)
