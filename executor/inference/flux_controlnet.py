"""ControlNets of Flux.1 with their pictures, which most read as latents. Knows neither files nor nodes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.control import Cond, Features
from executor.inference.crossing import sent
from executor.inference.flux import Flux
from executor.inference.flux_control import FluxControl
from executor.inference.flux_tokens import CELLS
from executor.inference.latent_control import LatentControl, check_text, check_width
from executor.inference.latent_formats import FLUX
from executor.inference.memory import Memory, Part

OPENPOSE, DEPTH, CANNY, TILE = 0, 1, 3, 6
KINDS: Mapping[int, int] = MappingProxyType({CANNY: 0, TILE: 1, DEPTH: 2, OPENPOSE: 4})
"""Numbers in the list of SetUnionControlNetType → words that union networks of Flux.1 were trained with."""
WORDS = "canny, depth, openpose and tile"


class FluxNetControl(LatentControl):
    """Such a ControlNet with its picture."""

    def __init__(self, part: Part[FluxControl], memory: Memory) -> None:
        super().__init__()
        self.part, self.memory = part, memory
        self.compression_ratio = FLUX.downscale if part.module.shape.pixels else 1  # most pictures come as latents
        self.concat_mask = part.module.shape.hint_features > FLUX.channels * CELLS

    @property
    def control_model(self) -> FluxControl:
        """The network."""
        return self.part.module

    # ---------------------------------------------------------------- the picture

    def scaled_hint(self, size: tuple[int, int]) -> Tensor:
        """The picture's latents [B, C, h, w] of a size in cells, and behind them what is kept of it where it is told.

        For a network that sees pixels, these [B, 3, H, W] in -1..1 of a size in pixels.
        Raises NodeInputError without a VAE, or with another's.
        """
        if self.part.module.shape.pixels:
            return super().scaled_hint(size)[:, :3] * 2.0 - 1.0
        latents = self.encoded(self.pixels(size, FLUX.downscale), FLUX.channels)
        kept = self.kept(latents, self.part.module.shape.hint_features // CELLS - FLUX.channels)
        return torch.cat([FLUX.process_in(latents), kept], dim=1)

    def kind(self) -> int | None:
        """What its picture shows, as a union network is told; NodeInputError for what it was not trained on."""
        told = cast("list[int]", self.extra_args.get("control_type") or [])
        if not told or not self.part.module.shape.kinds:
            return None
        if told[0] not in KINDS or KINDS[told[0]] >= self.part.module.shape.kinds:
            reason = "this union ControlNet of Flux does not know the kind of picture that was set"
            raise NodeInputError(f"{reason}; choose one of {WORDS}, or auto")
        return KINDS[told[0]]

    # ---------------------------------------------------------------- what it adds

    def features(self, x_noisy: Tensor, t: Tensor, cond: Cond, batched_number: int) -> Features:
        """Features for each block of the network; NodeInputError beside a model of another kind."""
        assert self.model is not None  # pre_run() comes first
        network, sampling = self.model.diffusion_model, self.model.model_sampling
        context, pooled = (cast("Tensor | None", cond.get(name)) for name in ("c_crossattn", "y"))
        text, kind = cast("Tensor | None", cond.get("crossattn_controlnet", context)), self.kind()
        if not isinstance(network, Flux) or text is None or pooled is None:
            raise NodeInputError("this ControlNet steers models of Flux.1; load one for this model")
        self._check(network, text)
        hint = self.hint_for(x_noisy, batched_number)  # before its network is loaded: the VAE has to be, too
        self.memory.load(self.part)
        dtype, device = self.part.dtype, x_noisy.device
        guidance = cast("Tensor | None", cond.get("guidance"))
        doubles, singles = self.part.module(
            sampling.calculate_input(t, x_noisy).to(dtype),
            hint.to(device, dtype),
            sampling.timestep(t).float(),
            sent(text, device, dtype),
            sent(pooled, device, dtype),
            guidance,
            kind,
        )
        shape, shared = network.shape, alternating if self.part.module.shape.pixels else spread
        return {
            "input": shared([each.to(x_noisy.dtype) for each in doubles], shape.double_blocks),
            "output": spread([each.to(x_noisy.dtype) for each in singles], shape.single_blocks),
        }

    def _check(self, network: Flux, text: Tensor) -> None:
        base = self.part.module.shape.base
        check_width(base.width, network.shape.width)
        check_width(base.vector, network.shape.vector, "vector width")
        check_text(base.context, text)

    def get_models(self) -> list[object]:
        """The networks of the chain."""
        return [*super().get_models(), self.part]


def spread(features: list[Tensor], blocks: int) -> list[Tensor | None]:
    """As many features as there are blocks, each for as many of them in a row."""
    if not features:
        return []
    each = -(-blocks // len(features))
    return [features[number // each] for number in range(blocks)]


def alternating(features: list[Tensor], blocks: int) -> list[Tensor | None]:
    """As many features as there are blocks, by turns."""
    return [features[number % len(features)] for number in range(blocks)]
