"""The small autoencoder that approximates a large one in a hundredth of its time: TAESD, and its files.

By Ollin Boer Bohan 2023 (github.com/madebyollin/taesd, MIT), its modules numbered as in its files. It works on pictures
in 0..1 and latents in the diffusion network's scale; here both are brought to the scales of a full autoencoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn

from executor.errors import ModelFileError
from executor.files import Folders
from executor.inference.building import build_part
from executor.inference.detect import describe
from executor.inference.memory import Memory, Part
from executor.inference.vae import Vae
from executor.inference.vae_model import ImageAutoencoder, VaeShape
from executor.inference.weights import WeightFile, read_weights

KIND = "vae_approx"
LEVELS, BLOCKS = 3, 3
BOUND = 3.0  # latents are bent into -3..3 before they are decoded
FITS = "TAESD's own encoder and decoder files (taesd, taesdxl, taesd3, taef1) fit here"
SIDES = ("encoder", "decoder")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From a full autoencoder's latents to the network's: (x - shift) * factor (numeric/tables.json)."""

    factor: float
    shift: float = 0.0


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "taesd": Scale(factor=0.18215),
        "taesdxl": Scale(factor=0.13025),
        "taesd3": Scale(factor=1.5305, shift=0.0609),
        "taef1": Scale(factor=0.3611, shift=0.1159),
    }
)
"""By what the names of files begin with; the order is that of the listing."""


class Residual(nn.Module):
    """Three convolutions beside a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, C, H, W] to the same shape."""
        return torch.relu(self.conv(x) + x)


class Bend(nn.Module):
    """Values brought into -3..3 without a corner."""

    def forward(self, x: Tensor) -> Tensor:
        """x [...] to the same shape."""
        return torch.tanh(x / BOUND) * BOUND


def encoder(width: int, channels: int) -> nn.Sequential:
    """Pictures [B, 3, H, W] to latents [B, C, H/8, W/8]."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), Residual(width)]
    for _ in range(LEVELS):
        layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
        layers += [Residual(width) for _ in range(BLOCKS)]
    return nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))


def decoder(width: int, channels: int) -> nn.Sequential:
    """Latents [B, C, h, w] to pictures [B, 3, 8h, 8w]."""
    layers: list[nn.Module] = [Bend(), nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
    for _ in range(LEVELS):
        layers += [Residual(width) for _ in range(BLOCKS)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, Residual(width), nn.Conv2d(width, 3, 3, padding=1))


class TinyAutoencoder(nn.Module):
    """Both sides, or the decoder alone."""

    def __init__(self, width: int, channels: int, scale: Scale, *, encodes: bool) -> None:
        super().__init__()
        self.scale = scale
        self.shape = VaeShape(encoder_widths=(width,) * 4, decoder_widths=(width,) * 4, latent_channels=channels)
        self.encoder = encoder(width, channels) if encodes else None
        self.decoder = decoder(width, channels)

    def encode(self, pixels: Tensor) -> Tensor:
        """Latents in the full autoencoder's scale of pictures [B, 3, H, W] in -1..1."""
        assert self.encoder is not None  # a Vae is made with both sides
        latents: Tensor = self.encoder(pixels * 0.5 + 0.5)
        return latents / self.scale.factor + self.scale.shift

    def decode(self, latent: Tensor) -> Tensor:
        """Pictures in -1..1 of latents in the full autoencoder's scale."""
        pictures: Tensor = self.decoder((latent - self.scale.shift) * self.scale.factor)
        return pictures * 2.0 - 1.0


# ---------------------------------------------------------------- files


def approximate_path(folders: Folders, name: str, side: str) -> Path | None:
    """The file of one side ("encoder", "decoder") of an approximate autoencoder, or None."""
    start = f"{name}_{side}."
    found = next((each for each in folders.names(KIND) if each.startswith(start)), None)
    return None if found is None else folders.find(KIND, found)


def approximate_vae(folders: Folders, name: str, memory: Memory) -> Vae:
    """The whole approximate autoencoder of a name ("taesd"); ModelFileError when a file is missing or another's."""
    return tiny_vae(name, {side: _path(folders, name, side) for side in SIDES}, memory)


def approximate_decoder(folders: Folders, name: str, memory: Memory) -> Vae:
    """Its decoder alone; ModelFileError when the file is missing or another's."""
    return tiny_vae(name, {"decoder": _path(folders, name, "decoder")}, memory)


def _path(folders: Folders, name: str, side: str) -> Path:
    path = approximate_path(folders, name, side)
    if path is None:
        reason = f"is missing from models/{KIND}: {name!r} needs it"
        raise ModelFileError(f"{name}_{side}.safetensors", reason, FITS)
    return path


def tiny_vae(name: str, paths: Mapping[str, Path], memory: Memory) -> Vae:
    """A VAE of the files of its sides; ModelFileError when one is broken or holds something else."""
    tensors: dict[str, Tensor] = {}
    for side, path in paths.items():
        tensors |= {f"{side}.{key}": tensor for key, tensor in side_tensors(read_weights(path), side).items()}
    first = tensors["decoder.1.weight"]
    width, channels = first.shape[0], first.shape[1]
    file = WeightFile(path=paths["decoder"], tensors=tensors)

    def build() -> TinyAutoencoder:
        return TinyAutoencoder(width, channels, SCALES[name], encodes="encoder" in paths)

    part = build_part(file, "approximate VAE", "vae", build, {key: key for key in tensors})
    return Vae(part=cast("Part[ImageAutoencoder]", part), memory=memory)


def side_tensors(file: WeightFile, side: str) -> dict[str, Tensor]:
    """The tensors of one side by the numbers of its layers; diffusers' names, which count no bend, are read too."""
    theirs = f"{side}.layers."
    if any(name.startswith(theirs) for name in file.tensors):
        ahead = 1 if side == "decoder" else 0
        found = {}
        for name, tensor in file.tensors.items():
            if name.startswith(theirs):
                number, _, rest = name[len(theirs) :].partition(".")
                found[f"{int(number) + ahead}.{rest}"] = tensor
    else:
        found = {name.removeprefix(f"taesd_{side}."): tensor for name, tensor in file.tensors.items()}
    first = found.get("1.weight" if side == "decoder" else "0.weight")
    if first is None or first.ndim != 4:
        raise ModelFileError(file.path, f"looks like {describe(file.tensors)[0]}", FITS)
    return found
