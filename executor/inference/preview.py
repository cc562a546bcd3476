"""A picture of a latent while it is sampled: by one linear map from channels to colours, or by a small decoder.

Knows no sampler.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from PIL import Image
from torch import Tensor

from executor import context
from executor.errors import ModelFileError
from executor.files import Folders
from executor.inference.latent_formats import LatentFormat
from executor.inference.memory import Memory
from executor.inference.vae import Vae

logger = logging.getLogger("weft.inference")
PICTURES = 4  # dimensions of latents of pictures
FIRST = -1  # the higher of a device's two usual priorities


class Holder(Protocol):
    """Where the files of small decoders lie, and what loads them: the worker's services."""

    @property
    def folders(self) -> Folders:
        """Where files lie."""
        ...

    @property
    def memory(self) -> Memory:
        """Which models are where."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreviewBeside:
    """A picture of latents on a CUDA device, made beside the sampling, on a stream of its own and any thread."""

    latent: Tensor
    ready: torch.cuda.Event  # latents are whole from here on
    make: Callable[[Tensor], Image.Image]

    def image(self) -> Image.Image:
        """The picture; waits for the device, which goes on with the sampling meanwhile."""
        device = self.latent.device
        # PyTorch hands out 32 streams of a priority by turns: one of another can never be that of a recording.
        stream = torch.cuda.Stream(device, priority=FIRST)  # type: ignore[no-untyped-call]
        with torch.inference_mode(), torch.cuda.device(device), torch.cuda.stream(stream):
            stream.wait_event(self.ready)
            self.latent.record_stream(stream)
            return self.make(self.latent)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LatentPreview:
    """The first picture of latents [B, C, H, W] in the network's scale, made only when somebody asks."""

    latent: Tensor
    latent_format: LatentFormat
    decoder: Vae | None = None

    def image(self) -> Image.Image:
        """The picture, RGB: one pixel per latent cell, or, by a decoder, in its own size."""
        return self._maker()(self.latent)

    def begun(self) -> PreviewBeside | None:
        """The same picture for another thread to make; None where there is no device to wait for."""
        if self.latent.device.type != "cuda":
            return None
        ready = torch.cuda.current_stream(self.latent.device).record_event()
        return PreviewBeside(latent=self.latent, ready=ready, make=self._maker())

    def _maker(self) -> Callable[[Tensor], Image.Image]:
        """Latents [B, C, H, W] to the picture of the first; a decoder's weights are brought in place before."""
        if self.decoder is None:
            return lambda latent: Image.fromarray(latent_pixels(latent, self.latent_format).numpy())
        decode = self.decoder.decoding(self.latent.shape)

        def make(latent: Tensor) -> Image.Image:
            first = self.latent_format.process_out(latent[:1].float())
            return Image.fromarray(decode(first)[0].mul(255).to(torch.uint8).numpy())

        return make


def latent_pixels(latent: Tensor, latent_format: LatentFormat) -> Tensor:
    """The first of latents [B, C, H, W], or a video's first frame, as uint8 [H, W, 3] by the format's colours."""
    factors = torch.tensor(latent_format.rgb_factors, dtype=torch.float32)
    bias = torch.tensor(latent_format.rgb_bias, dtype=torch.float32)
    first = latent[0] if latent.ndim == PICTURES else latent[0, :, 0]
    colours = first.float().cpu().movedim(0, -1) @ factors + bias
    return ((colours + 1) / 2).clamp(0, 1).mul(255).to(torch.uint8)


def preview_decoder(latent_format: LatentFormat) -> Vae | None:
    """The small decoder of a latent format where the running prompt wants one; None, with a line in the log, without.

    It is looked for among models/vae_approx by the format's name for it.
    """
    here = context.current()
    if here.preview_method != "taesd" or here.services is None:
        return None
    from executor.inference.tiny_autoencoder import approximate_decoder

    if not latent_format.tiny:
        logger.warning("there is no small decoder for %s latents: previews show colours only", latent_format.name)
        return None
    holder = cast(Holder, here.services)
    try:
        return approximate_decoder(holder.folders, latent_format.tiny, holder.memory)
    except ModelFileError as error:
        logger.warning("previews show colours only: %s", error)
        return None
