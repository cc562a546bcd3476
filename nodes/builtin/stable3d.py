"""Nodes that make what leads models which draw a pictured thing from other sides. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from executor.inference.led_by_picture import Leading, leading_picture, video_sides
from executor.inference.values import Conditioning, Image, Latent
from executor.inference.views import around, camera
from nodes.builtin.conditioning import packed
from nodes.builtin.inputs import Entry, InputTypes, decimal, integer, pixels
from nodes.builtin.video_model import MOST_FRAMES, seeing

if TYPE_CHECKING:
    from executor.inference.vae import Vae
    from executor.inference.vision import ClipVision

PACK = "comfy_extras.nodes_stable3d"
Sides = tuple[Conditioning, Conditioning, Latent]


class _Views:
    LISTING = "v3"
    PACK = PACK
    CATEGORY = "conditioning/3d_models"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = ("positive", "negative", "latent")
    FUNCTION = "encode"


def picture_inputs(side: int) -> dict[str, Entry]:
    """The inputs that every node here begins with."""
    return {
        "clip_vision": ("CLIP_VISION", {}),
        "init_image": ("IMAGE", {}),
        "vae": ("VAE", {}),
        "width": pixels(side, 16, 8),
        "height": pixels(side, 16, 8),
    }


def degrees(most: float, usual: float = 0.0) -> Entry:
    """An angle."""
    return decimal(usual, -most, most, 0.1, round=False)


class StableZero123_Conditioning(_Views):  # noqa: N801  (the ecosystem's name)
    """Makes what leads Stable Zero123 to one view of a pictured thing."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        count = integer(1, 1, 4096)
        angles = {"elevation": degrees(180.0), "azimuth": degrees(180.0)}
        return {"required": {**picture_inputs(256), "batch_size": count, **angles}}

    def encode(
        self,
        clip_vision: ClipVision,
        init_image: Image,
        vae: Vae,
        width: int,
        height: int,
        batch_size: int,
        elevation: float,
        azimuth: float,
    ) -> Sides:
        """The same view for every latent; angles in degrees from where the picture was taken."""
        led = leading_picture(seeing(clip_vision), vae, init_image, (width, height))
        return (*viewed(led, [(elevation, azimuth)]), {"samples": led.empty(batch_size)})


class StableZero123_Conditioning_Batched(_Views):  # noqa: N801  (the ecosystem's name)
    """Makes what leads Stable Zero123 to a row of views of a pictured thing."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        count = integer(1, 1, 4096)
        names = ("elevation", "azimuth", "elevation_batch_increment", "azimuth_batch_increment")
        angles = {name: degrees(180.0) for name in names}
        return {"required": {**picture_inputs(256), "batch_size": count, **angles}}

    def encode(
        self,
        clip_vision: ClipVision,
        init_image: Image,
        vae: Vae,
        width: int,
        height: int,
        batch_size: int,
        elevation: float,
        azimuth: float,
        elevation_batch_increment: float,
        azimuth_batch_increment: float,
    ) -> Sides:
        """Each latent's view is turned further by the increments; all start from one noise, being one thing's."""
        led = leading_picture(seeing(clip_vision), vae, init_image, (width, height))
        steps = ((elevation_batch_increment * place, azimuth_batch_increment * place) for place in range(batch_size))
        views = [(elevation + tilt, azimuth + turn) for tilt, turn in steps]
        latent: Latent = {"samples": led.empty(batch_size), "batch_index": [0] * batch_size}
        return (*viewed(led, views), latent)


class SV3D_Conditioning(_Views):  # noqa: N801  (the ecosystem's name)
    """Makes what leads SV3D around a pictured thing."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        frames = integer(21, 1, MOST_FRAMES)
        return {"required": {**picture_inputs(576), "video_frames": frames, "elevation": degrees(90.0)}}

    def encode(
        self,
        clip_vision: ClipVision,
        init_image: Image,
        vae: Vae,
        width: int,
        height: int,
        video_frames: int,
        elevation: float,
    ) -> Sides:
        """Frames in equal steps around at one elevation in degrees; the last one is where the picture was taken."""
        led = leading_picture(seeing(clip_vision), vae, init_image, (width, height))
        told = {"elevation": [elevation] * video_frames, "azimuth": around(video_frames)}
        positive, negative = (packed([(meaning, {**options, **told})]) for meaning, options in video_sides(led))
        return positive, negative, {"samples": led.empty(video_frames)}


def viewed(led: Leading, views: list[tuple[float, float]]) -> tuple[Conditioning, Conditioning]:
    """Both sides of Zero123 for views (elevation, azimuth): the negative one knows neither picture nor camera."""
    (meaning, follow), (nothing, avoid) = video_sides(led)
    cameras = torch.stack([camera(*view) for view in views])[:, None]  # [views, 1, 4]
    led_by = torch.cat([meaning.expand(len(views), -1, -1), cameras.expand(-1, meaning.shape[1], -1)], dim=-1)
    return packed([(led_by, dict(follow))]), packed([(nothing, dict(avoid))])


NODES = (StableZero123_Conditioning, StableZero123_Conditioning_Batched, SV3D_Conditioning)
