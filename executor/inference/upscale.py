"""The UPSCALE_MODEL that nodes hand around, and pictures enlarged by it tile by tile. Knows no network from inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from executor import context
from executor.inference.devices import CPU, is_out_of_memory
from executor.inference.memory import Memory, Part
from executor.inference.tiling import get_tiled_scale_steps, tiled_scale
from executor.inference.upscale_file import Descriptor, read_upscaler
from executor.inference.upscale_model import RGB, CompactNet, RRDBNet
from executor.inference.values import Image
from executor.inference.weights import read_weights

TILE, OVERLAP = 512, 32  # pixels of the given picture
SMALLEST_TILE = 128
# feature maps of the enlarged size that are alive at once: input, output, and the convolution's workspace
LIVE_MAPS = 4


class UpscaleModel:
    """A network that enlarges; callable on pictures [B, 3, H, W] in 0..1, as packs do it."""

    input_channels = output_channels = RGB

    def __init__(self, part: Part[RRDBNet] | Part[CompactNet], memory: Memory) -> None:
        self.part, self.memory = part, memory

    @property
    def scale(self) -> int:
        """How much longer the sides become."""
        return self.part.module.shape.scale

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.part.module

    @contextmanager
    def loaded(self, tile: int) -> Iterator[torch.device]:
        """The network ready for tiles of so many pixels; gives where it computes."""
        side = tile * self.scale
        self.memory.load(self.part, LIVE_MAPS * self.part.module.shape.width * side**2 * torch.float32.itemsize)
        with self.memory.keeping([self.part]):
            yield self.part.device

    def __call__(self, pictures: Tensor) -> Tensor:
        """The larger pictures, float32, on the device of the given ones."""
        if self.part.placement is None:
            self.memory.load(self.part)
        with torch.no_grad():
            larger: Tensor = self.part.module(pictures.to(self.part.device, torch.float32))
        return larger.to(pictures.device)

    def to(self, device: object) -> UpscaleModel:
        """Itself: the memory decides where it lies."""
        return self

    cpu = cuda = eval = lambda self, *_: self
    """Names that packs call before use; itself."""


class ForeignUpscaleModel(UpscaleModel):
    """A network that spandrel read."""

    def __init__(self, descriptor: Descriptor, memory: Memory) -> None:
        self.descriptor, self.memory = descriptor, memory

    @property
    def scale(self) -> int:
        """How much longer the sides become."""
        return self.descriptor.scale

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.descriptor.model

    @contextmanager
    def loaded(self, tile: int) -> Iterator[torch.device]:
        """The network on the device that computes, and back from it afterwards; gives the device."""
        weights = sum(weight.numel() * weight.element_size() for weight in self.model.parameters())
        self.memory.evict(2 * weights)
        self.descriptor.to(self.memory.device)
        try:
            yield self.memory.device
        finally:
            self.descriptor.to(CPU)

    def __call__(self, pictures: Tensor) -> Tensor:
        """The larger pictures, on the device of the given ones."""
        held = next(self.model.parameters(), pictures)
        with torch.no_grad():
            return self.descriptor(pictures.to(held.device, held.dtype)).to(pictures)


def load_upscale_model(path: Path, memory: Memory) -> UpscaleModel:
    """The network of a file; ModelFileError when the file is broken or holds none that can be loaded."""
    found = read_upscaler(read_weights(path))
    return UpscaleModel(found, memory) if isinstance(found, Part) else ForeignUpscaleModel(found, memory)


def upscale(model: UpscaleModel, images: Image) -> Image:
    """Pictures [B, H, W, C] enlarged, [B, H*s, W*s, 3] in 0..1, float32 on the CPU; alpha is left out.

    Worked on in overlapping tiles, which are halved each time the device's memory runs out; the error of the smallest
    is passed on. Raises Interrupted between tiles.
    """
    colours = images[..., :RGB] if images.shape[-1] >= RGB else images[..., :1].expand(*images.shape[:-1], RGB)
    tile = TILE
    while True:
        try:
            return in_tiles(model, colours.movedim(-1, 1).float(), tile).movedim(1, -1)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or tile // 2 < SMALLEST_TILE:
                raise
        tile //= 2  # outside the handler, which holds what the failed attempt had in memory


def in_tiles(model: UpscaleModel, pictures: Tensor, tile: int) -> Tensor:
    """Pictures [B, 3, H, W] enlarged in tiles of so many pixels, cut to 0..1."""
    height, width = pictures.shape[-2:]
    steps = Steps(len(pictures) * get_tiled_scale_steps(width, height, tile, tile, OVERLAP))
    with model.loaded(tile) as device:

        def enlarged(piece: Tensor) -> Tensor:
            return model(piece.to(device)).float()

        larger = tiled_scale(pictures, enlarged, tile, tile, OVERLAP, model.scale, pbar=steps)
    return larger.clamp(0, 1)


class Steps:
    """Tells the tiles that are done; each tests for an interrupt."""

    def __init__(self, total: int) -> None:
        self.done, self.total = 0.0, total

    def update(self, value: float) -> None:
        """So many more are done; raises Interrupted when the user stopped the prompt."""
        self.done += value
        context.current().progress(self.done, self.total)
