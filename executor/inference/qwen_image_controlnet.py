"""ControlNets of Qwen-Image with their pictures, which they read as latents. Knows neither files nor nodes."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.control import Cond, Features
from executor.inference.crossing import sent
from executor.inference.flux_controlnet import spread
from executor.inference.flux_tokens import CELLS
from executor.inference.latent_control import LatentControl, check_text, check_width, other_vae
from executor.inference.memory import Memory, Part
from executor.inference.qwen_image import QwenImage
from executor.inference.qwen_image_control import QwenImageControl
from executor.inference.video_latent_formats import WAN21


class QwenNetControl(LatentControl):
    """Such a ControlNet with its picture."""

    def __init__(self, part: Part[QwenImageControl], memory: Memory) -> None:
        super().__init__()
        self.part, self.memory = part, memory
        self.kept_channels = part.module.shape.hint_features // CELLS - WAN21.channels
        self.concat_mask = self.kept_channels > 0

    @property
    def control_model(self) -> QwenImageControl:
        """The network."""
        return self.part.module

    # ---------------------------------------------------------------- the picture

    def scaled_hint(self, size: tuple[int, int]) -> Tensor:
        """The picture's latents [B, C, h, w] of a size in cells, and behind them what is kept of it where it is told.

        Raises NodeInputError without a VAE, or with another's.
        """
        pixels = self.pixels(size, WAN21.downscale)
        latents = torch.cat([self.encoded(picture[None], WAN21.channels) for picture in pixels])  # a batch is a video
        if latents.ndim == pixels.ndim:
            raise other_vae(f"{WAN21.channels} channels of Wan's VAE")
        whole = WAN21.process_in(latents)[:, :, 0]
        return torch.cat([whole, self.kept(whole, self.kept_channels)], dim=1)

    # ---------------------------------------------------------------- what it adds

    def features(self, x_noisy: Tensor, t: Tensor, cond: Cond, batched_number: int) -> Features:
        """Features for each block of the network; NodeInputError beside a model of another kind."""
        assert self.model is not None  # pre_run() comes first
        network, sampling = self.model.diffusion_model, self.model.model_sampling
        text = cast("Tensor | None", cond.get("crossattn_controlnet", cond.get("c_crossattn")))
        if not isinstance(network, QwenImage) or text is None:
            raise NodeInputError("this ControlNet steers models of Qwen-Image; load one for this model")
        self._check(network, text)
        hint = self.hint_for(x_noisy, batched_number)[:, :, None].expand(-1, -1, x_noisy.shape[2], -1, -1)
        self.memory.load(self.part)  # after the picture: the VAE has to be loaded, too
        dtype, device = self.part.dtype, x_noisy.device
        found = self.part.module(
            sampling.calculate_input(t, x_noisy).to(dtype),
            hint.to(device, dtype),
            sampling.timestep(t).float(),
            sent(text, device, dtype),
        )
        return {"input": spread([each.to(x_noisy.dtype) for each in found], network.shape.blocks)}

    def _check(self, network: QwenImage, text: Tensor) -> None:
        base = self.part.module.shape.base
        check_width(base.width, network.shape.width)
        check_text(base.context, text)

    def get_models(self) -> list[object]:
        """The networks of the chain."""
        return [*super().get_models(), self.part]
