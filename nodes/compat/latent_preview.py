"""Pictures of latents while they are sampled, as packs make and replace them.

`get_previewer` is looked up here whenever a sampling begins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy.progress_bar import ProgressBar
from comfy.seams import SeamModule, joined
from PIL import Image
from torch import Tensor

from executor.errors import ModelFileError
from executor.inference.sample import prepare_callback as _prepare_callback
from executor.inference.tiny_autoencoder import approximate_decoder
from executor.inference.vae import Vae
from nodes import bridge

__getattr__ = joined(__name__, {"prepare_callback": _prepare_callback})

MAX_PREVIEW_RESOLUTION = args.preview_size
default_preview_method = LatentPreviewMethod(bridge.services().settings.preview_method)


def preview_to_image(latent_image: Tensor) -> Image.Image:
    """A picture [H, W, 3] of values in -1..1 as a PIL image."""
    values = ((latent_image + 1.0) / 2.0).clamp(0, 1).mul(255).to(device="cpu", dtype=torch.uint8)
    return Image.fromarray(values.numpy())


class LatentPreviewer:
    """Makes a picture of latents; subclasses say how."""

    def decode_latent_to_preview(self, x0: Tensor) -> Image.Image | None:
        """The first of latents [B, C, H, W] as a PIL image."""
        return None

    def decode_latent_to_preview_image(self, preview_format: str, x0: Tensor) -> tuple[str, object, int]:
        """The picture as `ProgressBar.update_absolute` takes it."""
        return "JPEG", self.decode_latent_to_preview(x0), MAX_PREVIEW_RESOLUTION


class Latent2RGBPreviewer(LatentPreviewer):
    """One linear map from channels to colours."""

    def __init__(
        self,
        latent_rgb_factors: Sequence[Sequence[float]],
        latent_rgb_factors_bias: Sequence[float] | None = None,
        latent_rgb_factors_reshape: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.latent_rgb_factors = torch.tensor(latent_rgb_factors, device="cpu").transpose(0, 1)
        self.latent_rgb_factors_bias = None
        if latent_rgb_factors_bias is not None:
            self.latent_rgb_factors_bias = torch.tensor(latent_rgb_factors_bias, device="cpu")
        self.latent_rgb_factors_reshape = latent_rgb_factors_reshape

    def decode_latent_to_preview(self, x0: Tensor) -> Image.Image:
        """The first picture (and frame) of latents."""
        if self.latent_rgb_factors_reshape is not None:
            x0 = self.latent_rgb_factors_reshape(x0)
        self.latent_rgb_factors = self.latent_rgb_factors.to(dtype=x0.dtype, device=x0.device)
        if self.latent_rgb_factors_bias is not None:
            self.latent_rgb_factors_bias = self.latent_rgb_factors_bias.to(dtype=x0.dtype, device=x0.device)
        first = x0[0, :, 0] if x0.ndim == 5 else x0[0]
        colours = torch.nn.functional.linear(
            first.movedim(0, -1), self.latent_rgb_factors, bias=self.latent_rgb_factors_bias
        )
        return preview_to_image(colours)


class TAESDPreviewerImpl(LatentPreviewer):
    """A small autoencoder that decodes the whole picture."""

    def __init__(self, taesd: object) -> None:
        self.taesd = taesd

    def decode_latent_to_preview(self, x0: Tensor) -> Image.Image:
        """The first of latents, decoded."""
        return preview_to_image(self.taesd.decode(x0[:1])[0].movedim(0, 2))


def set_preview_method(override: str | None = None) -> None:
    """Use a method of previews by name from now on; None or "default" goes back to the server's."""
    args.preview_method = LatentPreviewMethod.from_string(override or "") or default_preview_method


def get_previewer(device: torch.device, latent_format: object) -> LatentPreviewer | None:
    """What makes previews of latents of a format; None where none are wanted or the format has no colours."""
    if args.preview_method == LatentPreviewMethod.NoPreviews:
        return None
    if args.preview_method == LatentPreviewMethod.TAESD and (decoder := _small_decoder(latent_format)) is not None:
        return TAESDPreviewerImpl(decoder)
    factors = getattr(latent_format, "latent_rgb_factors", None) or getattr(latent_format, "rgb_factors", None)
    if factors is None:
        return None
    bias = getattr(latent_format, "latent_rgb_factors_bias", None) or getattr(latent_format, "rgb_bias", None)
    return Latent2RGBPreviewer(factors, bias, getattr(latent_format, "latent_rgb_factors_reshape", None))


class _SmallDecoder:
    """A small autoencoder as previewers call it: latents in the network's scale to pictures in -1..1."""

    def __init__(self, vae: Vae, latent_format: object) -> None:
        self.vae, self.latent_format = vae, latent_format

    def decode(self, x0: Tensor) -> Tensor:
        """Pictures [B, 3, H, W]."""
        return self.vae.decode(self.latent_format.process_out(x0.float())).movedim(-1, 1) * 2.0 - 1.0


def _small_decoder(latent_format: object) -> _SmallDecoder | None:
    name = getattr(latent_format, "taesd_decoder_name", None) or f"{getattr(latent_format, 'tiny', '')}_decoder"
    services = bridge.services()
    try:
        vae = approximate_decoder(services.folders, name.removesuffix("_decoder"), services.memory)
    except ModelFileError:
        return None
    return _SmallDecoder(vae, latent_format)


def callback_with_previewer(
    model: object, steps: int, x0_output_dict: dict[str, Tensor] | None = None
) -> Callable[[int, Tensor, Tensor, int], None]:
    """A function (step, denoised, x, total steps) that reports progress, with pictures of `get_previewer`."""
    here = sys.modules[__name__]
    latent_format = getattr(getattr(model, "model", None), "latent_format", None)
    previewer = here.get_previewer(model.load_device, latent_format)
    bar = ProgressBar(steps)

    def callback(step: int, x0: Tensor, x: Tensor, total_steps: int) -> None:
        if x0_output_dict is not None:
            x0_output_dict["x0"] = x0
        preview = previewer.decode_latent_to_preview_image("JPEG", x0) if previewer else None
        bar.update_absolute(step + 1, total_steps, preview)

    return callback


class _Module(SeamModule):
    """This module; where `get_previewer` is replaced, samplings ask the replacement."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "get_previewer":
            _prepare_callback.replace(callback_with_previewer)


sys.modules[__name__].__class__ = _Module
