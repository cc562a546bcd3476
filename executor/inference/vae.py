"""The VAE that nodes hand around: pictures to latents and back, in batches that fit. Knows no diffusion model.

Method names and arguments are the ecosystem's (reference/custom_node_surface.md, "Object protocols", VAE).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.devices import is_out_of_memory
from executor.inference.memory import Memory, Part
from executor.inference.packing import channels_last
from executor.inference.shortage import attempt, make_room, mebibytes
from executor.inference.tiling import tiled_scale
from executor.inference.vae_file import build_vae
from executor.inference.vae_model import ImageAutoencoder, PixelAutoencoder
from executor.inference.values import Image
from executor.inference.wan_vae import WanVae
from executor.inference.weights import read_weights

logger = logging.getLogger("weft.inference")
# feature maps of the widest full-size layer that are alive at once: input, output, and the convolution's workspace
LIVE_MAPS = 4
ENCODER_LIVE_MAPS = 5  # its widest are its first: the picture and the one that is passed on are alive too (measured: 5)
FRAME_LIVE_MAPS = 8  # of a frame: convolutions along the frames hold three shifted copies on the CPU (measured: 7.8)
Tile = tuple[int, int]


class Vae:
    """One autoencoder."""

    def __init__(self, *, part: Part[ImageAutoencoder] | Part[PixelAutoencoder], memory: Memory) -> None:
        self.part, self.memory = part, memory

    def clone(self) -> Vae:
        """The same autoencoder; weights are shared."""
        return copy.copy(self)

    @property
    def first_stage_model(self) -> ImageAutoencoder | PixelAutoencoder:
        """The network."""
        return self.part.module

    @property
    def patcher(self) -> Vae:
        """What packs ask for devices: itself."""
        return self

    latent_dim = 2
    output_channels = 3

    def process_input(self, image: Tensor) -> Tensor:
        """Pictures in 0..1 as the network has them, in -1..1."""
        return image * 2.0 - 1.0

    def process_output(self, image: Tensor) -> Tensor:
        """What the network decodes, -1..1, as pictures in 0..1."""
        return ((image + 1.0) / 2.0).clamp(0.0, 1.0)

    def throw_exception_if_invalid(self) -> None:
        """Nothing: a VAE that is none is refused when it is loaded."""

    @property
    def load_device(self) -> torch.device:
        """Where it computes."""
        return self.memory.device

    @property
    def downscale(self) -> int:
        """Pixels per latent cell, each way."""
        return self.part.module.shape.downscale

    @property
    def downscale_ratio(self) -> int:
        """`downscale` under a name that packs know."""
        return self.downscale

    @property
    def upscale_ratio(self) -> int:
        """`downscale` under a name that packs know."""
        return self.downscale

    def spacial_compression_encode(self) -> int:
        """`downscale` under a name that packs know."""
        return self.downscale

    def spacial_compression_decode(self) -> int:
        """`downscale` under a name that packs know."""
        return self.downscale

    def temporal_compression_decode(self) -> int | None:
        """Frames per latent frame; None: it knows single pictures."""
        return None

    @property
    def latent_channels(self) -> int:
        """Channels of its latents."""
        return self.part.module.shape.latent_channels

    @property
    def vae_dtype(self) -> torch.dtype:
        """The type it computes in."""
        return self.part.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.memory.device

    @property
    def output_device(self) -> torch.device:
        """Where its answers lie."""
        return torch.device("cpu")

    def get_sd(self) -> dict[str, Tensor]:
        """Its weights in the file's types, by the file's names without their prefix."""
        return {
            name.rpartition("first_stage_model.")[2].removeprefix("vae."): self.part.weights[key]
            for name, key in self.part.keys.items()
        }

    def encode(self, pixels: Image) -> Tensor:
        """Latents [B, 4, H/8, W/8] of pictures [B, H, W, C], C >= 3, in 0..1: the posterior's mean, on the CPU.

        Pictures are cut to multiples of 8 around their middle. Raises NodeInputError for pictures without a whole cell,
        or without three colours.
        """
        pixels = crop_to_cells(colours(pixels), self.downscale)
        height, width = pixels.shape[1:3]
        widest = self.part.module.shape.encoder_widths[0]
        each_bytes = self._working_bytes(widest, height, width, ENCODER_LIVE_MAPS)
        return self._or_tiled(
            lambda: self._in_batches(pixels, each_bytes, self._encode_batch), lambda: self.encode_tiled(pixels)
        )

    def encode_tiled(
        self,
        pixel_samples: Image,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Tensor:
        """`encode` in tiles of so many pixels, with so many shared: the mean of three ways to cut.

        Frames (`tile_t`, `overlap_t`) are for videos, which this one does not know.
        """
        pixels = crop_to_cells(colours(pixel_samples), self.downscale)
        tile, shared = (tile_x or 512, tile_y or 512), 64 if overlap is None else overlap
        widest = self.part.module.shape.encoder_widths[0]
        self.memory.load(self.part, self._working_bytes(widest, tile[1] * 2, tile[0] * 2))
        with torch.no_grad():
            return self._three_cuts(
                pixels.movedim(-1, 1),
                lambda piece: self._encode_batch(piece.movedim(1, -1)),
                tile,
                shared,
                1 / self.downscale,
                self.latent_channels,
            )

    def decode(self, samples: Tensor, vae_options: dict[str, Any] | None = None) -> Image:
        """Pictures [B, H, W, 3] in 0..1, float32, of latents [B, 4, H/8, W/8], on the CPU.

        Frames of a video that do not fit into memory together are decoded in stretches that do not see each other.
        `vae_options` are for kinds of VAE that have some. Raises NodeInputError for latents of other channels.
        """
        self._check_latents(samples)
        height, width = (side * self.downscale for side in samples.shape[2:])
        widths = self.part.module.shape.decoder_widths
        maps = FRAME_LIVE_MAPS if self.part.module.shape.video else LIVE_MAPS
        each_bytes = self._working_bytes(max(widths[:2]), height, width, maps)
        return self._or_tiled(
            lambda: self._in_batches(samples, each_bytes, self._decode_batch), lambda: self.decode_tiled(samples)
        )

    def decoding(self, shape: torch.Size) -> Callable[[Tensor], Image]:
        """What decodes one of latents of a shape, on any thread, as long as no other module takes its place."""
        height, width = (side * self.downscale for side in shape[-2:])
        self.memory.load(self.part, self._working_bytes(max(self.part.module.shape.decoder_widths[:2]), height, width))
        return self._decode_batch

    def decode_tiled(
        self,
        samples: Tensor,
        tile_x: int | None = None,
        tile_y: int | None = None,
        overlap: int | None = None,
        tile_t: int | None = None,
        overlap_t: int | None = None,
    ) -> Image:
        """`decode` in tiles of so many latent cells, with so many shared: the mean of three ways to cut.

        Frames (`tile_t`, `overlap_t`) are for videos, which this one does not know.
        """
        self._check_latents(samples)
        tile, shared = (tile_x or 64, tile_y or 64), 16 if overlap is None else overlap
        widest = max(self.part.module.shape.decoder_widths[:2])
        sides = tile[1] * 2 * self.downscale, tile[0] * 2 * self.downscale
        self.memory.load(self.part, self._working_bytes(widest, *sides))
        with torch.no_grad():
            mean = self._three_cuts(samples.float(), self._raw_decode_batch, tile, shared, self.downscale, 3)
        return (mean * 0.5 + 0.5).clamp_(0, 1).movedim(1, -1)

    def _roomy(self, working_bytes: int, run: Callable[[], Tensor]) -> Tensor:
        """Work done with so many bytes free beside the weights; MemoryError where main memory does not hold them.

        A GPU says so itself. Main memory is promised and then not there: the machine stands still until it ends us.
        """
        self.memory.load(self.part, working_bytes)
        free = self.memory.free()
        if self.device.type == "cpu" and free < working_bytes:
            told = f"one picture needs {mebibytes(working_bytes)} to work in, and {mebibytes(max(free, 0))} are free"
            raise MemoryError(told)
        with torch.no_grad():
            return run()

    def _or_tiled(self, whole: Callable[[], Tensor], tiled: Callable[[], Tensor]) -> Tensor:
        """Work done at once; when memory runs out, every model leaves and it is done once in tiles."""
        try:
            return whole()
        except Exception as failure:
            if not is_out_of_memory(failure):
                raise
            logger.warning("%s ran out of memory and works in tiles: %s", self.part.name, str(failure))
        make_room(self.memory)
        return attempt(self.memory, tiled)

    def _three_cuts(
        self, x: Tensor, run: Callable[[Tensor], Tensor], tile: Tile, shared: int, scale: float, channels: int
    ) -> Tensor:
        """Tiles as asked, wide and low ones, narrow and high ones: no border stays at one place."""
        width, height = tile
        cuts = ((width * 2, height // 2), (width // 2, height * 2), tile)
        whole = (tiled_scale(x, run, across, down, shared, scale, channels) for across, down in cuts)
        mean = next(whole) + next(whole)  # one after another: a whole picture is large
        mean += next(whole)
        return mean.div_(len(cuts))

    def _check_latents(self, samples: Tensor) -> None:
        if samples.ndim != 4 or samples.shape[1] != self.latent_channels:
            wanted = f"[batch, {self.latent_channels}, height, width]"
            raise NodeInputError(f"this VAE decodes latents of shape {wanted}, not {list(samples.shape)}")
        if not samples.numel():
            raise NodeInputError(f"these latents, {list(samples.shape)}, are empty: there is nothing to decode")

    def _encode_batch(self, pixels: Tensor) -> Tensor:
        picture = pixels.movedim(-1, 1).to(self.part.device, self.part.dtype) * 2 - 1
        return self.part.module.encode(channels_last(picture, self.part.module)).float().cpu().contiguous()

    def _decoded(self, samples: Tensor) -> Tensor:
        """What the network makes of latents, float32 [B, C, H, W] in -1..1, where it computes."""
        latents = channels_last(samples.to(self.part.device, self.part.dtype), self.part.module)
        return self.part.module.decode(latents).float()

    def _raw_decode_batch(self, samples: Tensor) -> Tensor:
        return self._decoded(samples).cpu().contiguous()

    def _decode_batch(self, samples: Tensor) -> Tensor:
        pictures = (self._decoded(samples) * 0.5 + 0.5).clamp_(0, 1)
        if pictures.device.type == "cpu":
            return pictures.contiguous().movedim(1, -1)
        return pictures.movedim(1, -1).contiguous().cpu()  # laid out by the device, which is faster at it

    def _working_bytes(self, channels: int, height: int, width: int, maps: int = LIVE_MAPS) -> int:
        """Bytes that one picture needs beside the weights, from the widest feature maps of full size."""
        return maps * channels * height * width * torch.float32.itemsize

    def _in_batches(self, batch: Tensor, each_bytes: int, run: Callable[[Tensor], Tensor]) -> Tensor:
        """Run a batch in as few pieces as fit into memory; MemoryError where main memory does not hold one."""

        def pieces() -> Tensor:
            size = max(1, self.memory.free() // each_bytes)
            return torch.cat([run(piece) for piece in torch.split(batch, size)])

        return self._roomy(each_bytes, pieces)


def load_vae(path: Path, memory: Memory) -> Vae:
    """The VAE of a file that holds one, alone, in a checkpoint, or in diffusers' names.

    Raises ModelFileError when the file is broken or holds none.
    """
    return vae_of(build_vae(read_weights(path)), memory)


def vae_of(part: Part[ImageAutoencoder] | Part[WanVae], memory: Memory) -> Vae:
    """The VAE of an autoencoder, of pictures or of videos."""
    from executor.inference.video_vae import VideoVae  # one kind of what is defined here

    module = part.module
    if isinstance(module, WanVae):
        return VideoVae(part=cast("Part[WanVae]", part), memory=memory)
    return Vae(part=cast("Part[ImageAutoencoder]", part), memory=memory)


def pixel_space(memory: Memory) -> Vae:
    """A VAE whose latents are the pixels themselves, in -1..1."""
    return Vae(part=Part("pixel space", "vae", PixelAutoencoder(), {}, {}), memory=memory)


def colours(pixels: Image) -> Image:
    """The colours of pictures [B, H, W, C]; NodeInputError where they have no three, or there are none."""
    if pixels.shape[-1] < 3 or not len(pixels):
        raise NodeInputError(
            f"these pictures have the shape {list(pixels.shape)}; a VAE encodes one or more of three colour channels"
        )
    return pixels[..., :3]


def crop_to_cells(pixels: Image, cell: int) -> Image:
    """Pictures cut around their middle so that both sides are multiples of a cell.

    Raises NodeInputError when nothing would be left.
    """
    height, width = pixels.shape[1:3]
    if height < cell or width < cell:
        raise NodeInputError(
            f"a picture of {width}x{height} pixels is too small for this VAE; {cell}x{cell} is the least"
        )
    top, left = height % cell // 2, width % cell // 2
    return pixels[:, top : top + height // cell * cell, left : left + width // cell * cell]
