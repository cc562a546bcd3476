"""How a family's latents are scaled before its network sees them, and what colours they show. Holds no weights."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentFormat:
    """Scale of a latent space and the RGB of each channel for previews (numeric/tables.json, latent_formats)."""

    name: str
    channels: int
    scale_factor: float
    shift_factor: float = 0.0  # taken off before the scale is applied
    rgb_factors: tuple[tuple[float, float, float], ...]  # [channels][R, G, B]
    rgb_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    downscale: int = 8  # pixels per latent cell, each way
    latent_dimensions: int = 2  # of a latent's cells: 3 where frames are among them
    mean: tuple[float, ...] = ()  # of each channel, where channels are brought to one scale each
    deviation: tuple[float, ...] = ()
    tiny: str = ""  # what the files of its approximate autoencoder begin with

    def process_in(self, latent: Tensor) -> Tensor:
        """From the autoencoder's scale to the network's."""
        if not self.mean:
            return (latent - self.shift_factor) * self.scale_factor
        return (latent - by_channel(self.mean, latent)) * self.scale_factor / by_channel(self.deviation, latent)

    def process_out(self, latent: Tensor) -> Tensor:
        """From the network's scale to the autoencoder's."""
        if not self.mean:
            return latent / self.scale_factor + self.shift_factor
        return latent * by_channel(self.deviation, latent) / self.scale_factor + by_channel(self.mean, latent)

    def grey(self) -> Tensor:
        """The smallest latent [1, C, 1, 1] in the network's scale whose preview is medium grey."""
        factors, bias = torch.tensor(self.rgb_factors), torch.tensor(self.rgb_bias)
        smallest: Tensor = torch.linalg.pinv(factors.T) @ -bias
        return smallest.reshape(1, -1, 1, 1)


def by_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    """A number per channel, to be joined with latents [B, C, ...]."""
    return like.new_tensor(values).reshape(1, -1, *(1,) * (like.ndim - 2))


SD15 = LatentFormat(
    name="SD15",
    tiny="taesd",
    channels=4,
    scale_factor=0.18215,
    rgb_factors=(
        (0.3512, 0.2297, 0.3227),
        (0.3250, 0.4974, 0.2350),
        (-0.2829, 0.1762, 0.2721),
        (-0.2120, -0.2616, -0.7177),
    ),
)
"""SD1.x and SD2.x."""

SDXL = LatentFormat(
    name="SDXL",
    tiny="taesdxl",
    channels=4,
    scale_factor=0.13025,
    rgb_factors=(
        (0.3651, 0.4232, 0.4341),
        (-0.2533, -0.0042, 0.1068),
        (0.1076, 0.1111, -0.0362),
        (-0.3165, -0.2492, -0.2188),
    ),
    rgb_bias=(0.1084, -0.0175, -0.0011),
)

PLAYGROUND_25 = LatentFormat(
    name="SDXL_Playground_2_5",
    tiny="taesdxl",
    channels=4,
    scale_factor=0.5,
    rgb_factors=(
        (0.3920, 0.4054, 0.4549),
        (-0.2634, -0.0196, 0.0653),
        (0.0568, 0.1687, -0.0755),
        (-0.3112, -0.2359, -0.2076),
    ),
    mean=(-1.6574, 1.886, -1.383, 2.5155),
    deviation=(8.4927, 5.9022, 6.5498, 5.2299),
)
"""Playground 2.5, an SDXL with a latent space of its own."""

SD_X4 = LatentFormat(
    name="SD_X4",
    channels=4,
    scale_factor=0.08333,
    rgb_factors=(
        (-0.2340, -0.3863, -0.3257),
        (0.0994, 0.0885, -0.0908),
        (-0.2833, -0.2349, -0.3741),
        (0.2523, -0.0055, -0.1651),
    ),
    downscale=4,
)
"""The x4 upscaler."""

SD3 = LatentFormat(
    name="SD3",
    tiny="taesd3",
    channels=16,
    scale_factor=1.5305,
    shift_factor=0.0609,
    rgb_factors=(
        (-0.0922, -0.0175, 0.0749),
        (0.0311, 0.0633, 0.0954),
        (0.1994, 0.0927, 0.0458),
        (0.0856, 0.0339, 0.0902),
        (0.0587, 0.0272, -0.0496),
        (-0.0006, 0.1104, 0.0309),
        (0.0978, 0.0306, 0.0427),
        (-0.0042, 0.1038, 0.1358),
        (-0.0194, 0.0020, 0.0669),
        (-0.0488, 0.0130, -0.0268),
        (0.0922, 0.0988, 0.0951),
        (-0.0278, 0.0524, -0.0542),
        (0.0332, 0.0456, 0.0895),
        (-0.0069, -0.0030, -0.0810),
        (-0.0596, -0.0465, -0.0293),
        (-0.1448, -0.1463, -0.1189),
    ),
    rgb_bias=(0.2394, 0.2135, 0.1925),
)
"""Stable Diffusion 3 and 3.5."""

FLUX = LatentFormat(
    name="Flux",
    tiny="taef1",
    channels=16,
    scale_factor=0.3611,
    shift_factor=0.1159,
    rgb_factors=(
        (-0.0346, 0.0244, 0.0681),
        (0.0034, 0.0210, 0.0687),
        (0.0275, -0.0668, -0.0433),
        (-0.0174, 0.0160, 0.0617),
        (0.0859, 0.0721, 0.0329),
        (0.0004, 0.0383, 0.0115),
        (0.0405, 0.0861, 0.0915),
        (-0.0236, -0.0185, -0.0259),
        (-0.0245, 0.0250, 0.1180),
        (0.1008, 0.0755, -0.0421),
        (-0.0515, 0.0201, 0.0011),
        (0.0428, -0.0012, -0.0036),
        (0.0817, 0.0765, 0.0749),
        (-0.1264, -0.0522, -0.1103),
        (-0.0280, -0.0881, -0.0499),
        (-0.1262, -0.0982, -0.0778),
    ),
    rgb_bias=(-0.0329, -0.0718, -0.0851),
)
"""Flux.1."""
