"""What networks take that draw a thing from other sides: where the camera stands. Knows no network and no node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from executor.inference.extras import NUMBER_WIDTH, Options, Situation, number
from executor.inference.unet_layers import timestep_embedding

ANGLE_WIDTH = 512  # of the vector that stands for one angle


@dataclass(frozen=True, slots=True, kw_only=True)
class Orbit:
    """SV3D's vector: the picture's noise and, where it takes them, the camera's place at each frame.

    Voleti et al. 2024 (arXiv:2403.12008), section 3.
    """

    angled: bool

    def __call__(self, options: Options, situation: Situation) -> dict[str, Tensor]:
        """`y` [1, 256], or [F, 1280] with polar angles and azimuths in radians."""
        level = torch.tensor([number(options, "augmentation_level", 0.0)])
        told = timestep_embedding(level, NUMBER_WIDTH)
        if not self.angled:
            return {"y": told}
        frames = situation.shape[0]
        elevations = self.angles(options, "elevation", [0.0] * frames, frames)
        azimuths = self.angles(options, "azimuth", around(frames), frames)
        places = (90.0 - elevations, azimuths)
        angles = [timestep_embedding(each.deg2rad(), ANGLE_WIDTH) for each in places]
        return {"y": torch.cat([told.expand(frames, -1), *angles], dim=1)}

    @staticmethod
    def angles(options: Options, name: str, usual: Sequence[float], frames: int) -> Tensor:
        """An angle in degrees of each frame [F]; of fewer angles than frames the last one holds on."""
        given = options.get(name)
        listed = [float(each) for each in given] if isinstance(given, Sequence) and given else list(usual)
        return torch.tensor((listed + [listed[-1]] * frames)[:frames])


def around(frames: int) -> list[float]:
    """Azimuths in degrees of frames in equal steps around, ending where the picture was taken."""
    return [(number + 1) * 360.0 / frames % 360.0 for number in range(frames)]


def camera(elevation: float, azimuth: float) -> Tensor:
    """Zero123's numbers [4] for a view turned by degrees from a picture taken at elevation 0.

    Liu et al. 2023 (arXiv:2303.11328), section 3.2: how far to tilt, how far to turn, and, in Stable Zero123, at which
    polar angle the picture was taken.
    """
    turned = torch.tensor(azimuth).deg2rad()
    return torch.stack([torch.tensor(-elevation).deg2rad(), turned.sin(), turned.cos(), torch.tensor(90.0).deg2rad()])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraProjection:
    """Zero123's layer that makes one embedding of a picture's vector and a camera's numbers."""

    weight: Tensor  # [C, C + 4]
    bias: Tensor  # [C]

    def __call__(self, options: Options, situation: Situation) -> Mapping[str, Tensor]:
        """`c_crossattn` where the embedding has the camera's numbers; nothing for one without, the negative side's."""
        context = cast(Tensor, situation.context)
        if context.shape[-1] != self.weight.shape[1]:
            return {}
        return {"c_crossattn": functional.linear(context.float(), self.weight.float(), self.bias.float())}
