"""ControlNets of Stable Diffusion 3 with their pictures, which they read as latents. Knows neither files nor nodes."""

from __future__ import annotations

import re
from typing import cast

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.control import Cond, Features
from executor.inference.crossing import sent
from executor.inference.latent_control import LatentControl, check_text, check_width
from executor.inference.latent_formats import SD3
from executor.inference.memory import Memory, Part
from executor.inference.mmdit import MMDiT, padded
from executor.inference.mmdit_control import MMDiTControl

CANNY = re.compile(r"canny", re.IGNORECASE)
# The canny network of 3.5 large was trained on edges of 127.5 + 0.5 where others' pictures are -1..1 (its model card).
EDGE, LEVEL = 127.5, 0.5


class MMDiTNetControl(LatentControl):
    """Such a ControlNet with its picture."""

    def __init__(self, part: Part[MMDiTControl], memory: Memory, name: str = "") -> None:
        """`name` is its file's: nothing else tells which pictures it reads."""
        super().__init__()
        self.part, self.memory = part, memory
        shape = part.module.shape
        self.concat_mask = shape.hint > SD3.channels
        self.brightens = not shape.reads_text and CANNY.search(name) is not None

    @property
    def control_model(self) -> MMDiTControl:
        """The network."""
        return self.part.module

    # ---------------------------------------------------------------- the picture

    def scaled_hint(self, size: tuple[int, int]) -> Tensor:
        """The picture's latents [B, C, h, w] of a size in cells, and behind them what is kept of it where it is told.

        Raises NodeInputError without a VAE.
        """
        pixels = self.pixels(size, SD3.downscale)
        if self.brightens:
            pixels = (pixels * EDGE + LEVEL + 1.0) / 2.0  # the VAE doubles what it is given and takes 1 off
        latents = self.encoded(pixels, SD3.channels)
        shape = self.part.module.shape
        plain = shape.reads_text and not self.concat_mask  # InstantX trained without taking the mean off
        latents = latents * SD3.scale_factor if plain else SD3.process_in(latents)
        return torch.cat([latents, self.kept(latents, shape.hint - latents.shape[1])], dim=1)

    # ---------------------------------------------------------------- what it adds

    def features(self, x_noisy: Tensor, t: Tensor, cond: Cond, batched_number: int) -> Features:
        """Features for each block of the transformer; NodeInputError beside a model of another kind."""
        assert self.model is not None  # pre_run() comes first
        network, shape = self.model.diffusion_model, self.part.module.shape
        context, pooled = (cast("Tensor | None", cond.get(name)) for name in ("c_crossattn", "y"))
        text = cast("Tensor | None", cond.get("crossattn_controlnet", context))
        self._check(network, text, pooled)
        assert isinstance(network, MMDiT)
        assert pooled is not None
        hint = self.hint_for(x_noisy, batched_number)  # before its network is loaded: the VAE has to be, too
        self.memory.load(self.part)
        dtype, device, sampling = self.part.dtype, x_noisy.device, self.model.model_sampling
        given = sampling.calculate_input(t, x_noisy)
        tokens = None
        if not shape.reads_text:
            tokens = network.tokens(padded(given.to(self.model.get_dtype()), shape.base.patch)).to(dtype)
        y = sent(pooled, device, dtype)
        answers = self.part.module(
            given.to(dtype),
            hint.to(device, dtype),
            sampling.timestep(t).float(),
            None if text is None else sent(text, device, dtype),
            torch.zeros_like(y) if shape.reads_text else y,  # they were trained without it
            tokens,
        )
        return {"output": self._spread([each.to(x_noisy.dtype) for each in answers], network.shape.depth)}

    def _spread(self, answers: list[Tensor], depth: int) -> list[Tensor | None]:
        """As many features as the transformer has blocks; those that read text add nothing behind the last one."""
        spread: list[Tensor | None] = [answers[number * len(answers) // depth] for number in range(depth)]
        if self.part.module.shape.reads_text:
            spread[-1] = None
        return spread

    def _check(self, network: object, text: Tensor | None, pooled: Tensor | None) -> None:
        base = self.part.module.shape.base
        if not isinstance(network, MMDiT) or pooled is None:
            raise NodeInputError("this ControlNet steers models of Stable Diffusion 3; load one for this model")
        check_width(base.width, network.shape.width)
        check_width(base.vector, pooled.shape[-1], "vector width")
        if base.context:
            check_text(base.context, text)

    def get_models(self) -> list[object]:
        """The networks of the chain."""
        return [*super().get_models(), self.part]
