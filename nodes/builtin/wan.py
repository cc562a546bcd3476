"""Nodes of Wan's videos: what leads them and what they are kept to. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from executor.errors import NodeInputError
from executor.inference.values import Conditioning, Image, Latent, Mask
from executor.inference.video_conditions import (
    VideoSize,
    begun_video,
    controlled,
    empty_video,
    given_pictures,
    kept_video,
    nothing,
)
from nodes.builtin.conditioning import Options, entries, packed, with_values
from nodes.builtin.inputs import Entry, InputTypes, decimal, held, integer, pixels
from nodes.builtin.latent import with_samples

if TYPE_CHECKING:
    from executor.inference.vae import Vae
    from executor.inference.vision import ClipVisionOutput

LISTS = ("vace_frames", "vace_mask", "vace_strength")
"""Options that hold one value for each video that is kept to."""


def link(kind: str) -> Entry:
    """An input that only takes a link, listed in the newer form."""
    return (kind, {})


def sizes(width: int, height: int, step: int, length: int) -> dict[str, Entry]:
    """The inputs that say how large a video is, how long, and how many."""
    return {
        "width": pixels(width, step, step),
        "height": pixels(height, step, step),
        "length": pixels(length, 1, 4),
        "batch_size": integer(1, 1, 4096),
    }


def sides(length: int = 81) -> dict[str, Entry]:
    """The inputs that most of these nodes have."""
    links = {"positive": link("CONDITIONING"), "negative": link("CONDITIONING"), "vae": link("VAE")}
    return {**links, **sizes(832, 480, 16, length)}


def both(positive: Conditioning, negative: Conditioning, values: Options) -> tuple[Conditioning, Conditioning]:
    """Both sides with more options on every entry."""
    return with_values(positive, values), with_values(negative, values)


class _Wan:
    LISTING = "v3"
    PACK = "comfy_extras.nodes_wan"
    CATEGORY = "conditioning/video_models"
    RETURN_TYPES: tuple[str, ...] = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES: tuple[str, ...] = ("positive", "negative", "latent")
    FUNCTION = "encode"


class WanImageToVideo(_Wan):
    """Leads a video by its first pictures."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        optional = {"clip_vision_output": link("CLIP_VISION_OUTPUT"), "start_image": link("IMAGE")}
        return {"required": dict(sides()), "optional": dict(optional)}

    def encode(
        self,
        positive: Conditioning,
        negative: Conditioning,
        vae: Vae | None,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        clip_vision_output: ClipVisionOutput | None = None,
        start_image: Image | None = None,
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """Both sides with the pictures' latents and what a vision model says, and an empty video."""
        values: Options = {}
        vae, size = held(vae, "vae", "VAE"), VideoSize(width=width, height=height, length=length)
        if start_image is not None:
            latents, mask = given_pictures(vae, size, start_image)
            values |= {"concat_latent_image": latents, "concat_mask": mask}
        if clip_vision_output is not None:
            values["clip_vision_output"] = clip_vision_output
        return *both(positive, negative, values), {"samples": empty_video(vae, size, batch_size)}


class WanFirstLastFrameToVideo(_Wan):
    """Leads a video from its first pictures to its last."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        seen = {f"clip_vision_{end}_image": link("CLIP_VISION_OUTPUT") for end in ("start", "end")}
        optional = {**seen, "start_image": link("IMAGE"), "end_image": link("IMAGE")}
        return {"required": dict(sides()), "optional": dict(optional)}

    def encode(
        self,
        positive: Conditioning,
        negative: Conditioning,
        vae: Vae | None,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        start_image: Image | None = None,
        end_image: Image | None = None,
        clip_vision_start_image: ClipVisionOutput | None = None,
        clip_vision_end_image: ClipVisionOutput | None = None,
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """Both sides with the pictures' latents and what a vision model says of both, and an empty video."""
        vae, size = held(vae, "vae", "VAE"), VideoSize(width=width, height=height, length=length)
        latents, mask = given_pictures(vae, size, start_image, end_image)
        values: Options = {"concat_latent_image": latents, "concat_mask": mask}
        seen = [each for each in (clip_vision_start_image, clip_vision_end_image) if each is not None]
        if seen:
            values["clip_vision_output"] = seen[0] if len(seen) == 1 else in_a_row(*seen)
        return *both(positive, negative, values), {"samples": empty_video(vae, size, batch_size)}


class WanFunInpaintToVideo(_Wan):
    """Leads a video of VideoX-Fun's networks from its first pictures to its last."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        optional = {"clip_vision_output": link("CLIP_VISION_OUTPUT")}
        optional |= {"start_image": link("IMAGE"), "end_image": link("IMAGE")}
        return {"required": dict(sides()), "optional": dict(optional)}

    def encode(
        self,
        positive: Conditioning,
        negative: Conditioning,
        vae: Vae | None,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        start_image: Image | None = None,
        end_image: Image | None = None,
        clip_vision_output: ClipVisionOutput | None = None,
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """As WanFirstLastFrameToVideo, with one picture that a vision model saw."""
        given = (positive, negative, vae, width, height, length, batch_size, start_image, end_image)
        return WanFirstLastFrameToVideo().encode(*given, clip_vision_start_image=clip_vision_output)


class WanFunControlToVideo(_Wan):
    """Leads a video of VideoX-Fun's networks by another video: lines, depths, poses."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        optional = {"clip_vision_output": link("CLIP_VISION_OUTPUT")}
        optional |= {"start_image": link("IMAGE"), "control_video": link("IMAGE")}
        return {"required": dict(sides()), "optional": dict(optional)}

    def encode(
        self,
        positive: Conditioning,
        negative: Conditioning,
        vae: Vae | None,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        start_image: Image | None = None,
        clip_vision_output: ClipVisionOutput | None = None,
        control_video: Image | None = None,
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """Both sides with the latents of the control and of the first pictures, and an empty video."""
        vae, size = held(vae, "vae", "VAE"), VideoSize(width=width, height=height, length=length)
        values: Options = {"concat_latent_image": controlled(vae, size, control_video, start_image)}
        if clip_vision_output is not None:
            values["clip_vision_output"] = clip_vision_output
        return *both(positive, negative, values), {"samples": empty_video(vae, size, batch_size)}


class Wan22FunControlToVideo(_Wan):
    """Leads a video of VideoX-Fun's later networks by another video, and by a picture of what it shows."""

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        optional = {"ref_image": link("IMAGE"), "control_video": link("IMAGE")}
        return {"required": dict(sides()), "optional": dict(optional)}

    def encode(
        self,
        positive: Conditioning,
        negative: Conditioning,
        vae: Vae | None,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        ref_image: Image | None = None,
        control_video: Image | None = None,
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """Both sides with the latents of the control and of the picture, and an empty video."""
        vae, size = held(vae, "vae", "VAE"), VideoSize(width=width, height=height, length=length)
        latents = controlled(vae, size, control_video)
        mask = torch.ones(1, 4, *latents.shape[2:])  # no picture of the video itself is given
        values: Options = {"concat_latent_image": latents, "concat_mask": mask}
        values["concat_mask_index"] = vae.latent_channels
        if ref_image is not None:
            seen = vae.encode(size.fitted(ref_image[:1]))
            positive, negative = (with_reference(side, seen) for side in (positive, negative))
        return *both(positive, negative, values), {"samples": empty_video(vae, size, batch_size)}


class Wan22ImageToVideoLatent(_Wan):
    """Begins a video of Wan 2.2's smaller network with given pictures."""

    CATEGORY = "conditioning/inpaint"
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        required = {"vae": link("VAE"), **sizes(1280, 704, 32, 49)}
        return {"required": dict(required), "optional": {"start_image": link("IMAGE")}}

    def encode(
        self,
        vae: Vae | None,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        start_image: Image | None = None,
    ) -> tuple[Latent]:
        """The pictures' latents at the start of an empty video, and a mask that keeps them."""
        vae, size = held(vae, "vae", "VAE"), VideoSize(width=width, height=height, length=length)
        if start_image is None:
            return ({"samples": empty_video(vae, size, batch_size)},)
        samples, mask = begun_video(vae, size, start_image)
        repeats = batch_size, 1, 1, 1, 1
        return ({"samples": samples.repeat(repeats), "noise_mask": mask.repeat(repeats)},)


class WanVaceToVideo(_Wan):
    """Keeps a video to another one, outside a mask, and to a picture of what it shows."""

    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT", "INT")
    RETURN_NAMES = ("positive", "negative", "latent", "trim_latent")

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        required = {**sides(), "strength": decimal(1.0, 0.0, 1000.0)}
        optional = {"control_video": link("IMAGE"), "control_masks": link("MASK"), "reference_image": link("IMAGE")}
        return {"required": dict(required), "optional": dict(optional)}

    def encode(
        self,
        positive: Conditioning,
        negative: Conditioning,
        vae: Vae | None,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        strength: float,
        control_video: Image | None = None,
        control_masks: Mask | None = None,
        reference_image: Image | None = None,
    ) -> tuple[Conditioning, Conditioning, Latent, int]:
        """Both sides with one more video that is kept to; an empty video, and how many of its frames are the picture's.

        TrimVideoLatent takes those off.
        """
        vae, size = held(vae, "vae", "VAE"), VideoSize(width=width, height=height, length=length)
        kept = kept_video(vae, size, control_video, control_masks, reference_image)
        more = dict(zip(LISTS, (kept.latents, kept.mask, strength), strict=True))
        found = [with_more(side, more) for side in (positive, negative)]
        return found[0], found[1], {"samples": empty_video(vae, size, batch_size, kept.more)}, kept.more


class WanPhantomSubjectToVideo(_Wan):
    """Shows a video's network pictures of whom and what it is to show (Phantom)."""

    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = ("positive", "negative_text", "negative_img_text", "latent")

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": dict(sides()), "optional": {"images": link("IMAGE")}}

    def encode(
        self,
        positive: Conditioning,
        negative: Conditioning,
        vae: Vae | None,
        width: int,
        height: int,
        length: int,
        batch_size: int,
        images: Image | None = None,
    ) -> tuple[Conditioning, Conditioning, Conditioning, Latent]:
        """The text with the pictures, the negative one with them, and with pictures of nothing; an empty video."""
        vae, size = held(vae, "vae", "VAE"), VideoSize(width=width, height=height, length=length)
        latent: Latent = {"samples": empty_video(vae, size, batch_size)}
        if images is None:
            return positive, negative, negative, latent
        seen = torch.cat([vae.encode(each[None]) for each in size.fitted(images)], dim=2)
        with_pictures: Options = {"time_dim_concat": seen}
        without = with_values(negative, {"time_dim_concat": nothing(seen)})
        return *both(positive, negative, with_pictures), without, latent


class TrimVideoLatent(_Wan):
    """Takes latent frames off a video's start."""

    CATEGORY = "latent/video"
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("LATENT",)
    FUNCTION = "trim"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"samples": link("LATENT"), "trim_amount": integer(0, 0, 99999)}}

    def trim(self, samples: Latent, trim_amount: int) -> tuple[Latent]:
        """The frames behind the first ones; NodeInputError for latents without frames."""
        old = samples["samples"]
        if old.ndim != 5:
            raise NodeInputError(f"these latents have the shape {list(old.shape)}; this node works on videos' latents")
        trimmed = with_samples(samples, old[:, :, trim_amount:])
        mask = samples.get("noise_mask")
        if mask is not None and mask.ndim == old.ndim and mask.shape[2] == old.shape[2]:
            trimmed["noise_mask"] = mask[:, :, trim_amount:]
        return (trimmed,)


def in_a_row(first: ClipVisionOutput, last: ClipVisionOutput) -> ClipVisionOutput:
    """What a vision model says of two pictures, their tokens in a row."""
    from executor.inference.vision import Output

    tokens = [each.penultimate_hidden_states for each in (first, last)]
    return Output(last.last_hidden_state, torch.cat(tokens, dim=-2), last.image_embeds)


def with_reference(conditioning: Conditioning, latents: Tensor) -> Conditioning:
    """The same conditioning with one more picture's latents on every entry."""
    return with_more(conditioning, {"reference_latents": latents})


def with_more(conditioning: Conditioning, values: Options) -> Conditioning:
    """The same conditioning with one more value at the end of each of these lists, on every entry."""
    pairs = []
    for tensor, options in entries(conditioning):
        before = {name: options.get(name) for name in values}
        lists = {name: [*(held if isinstance(held, list) else []), values[name]] for name, held in before.items()}
        pairs.append((tensor, {**options, **lists}))
    return packed(pairs)


NODES = (
    WanImageToVideo,
    WanFirstLastFrameToVideo,
    WanFunInpaintToVideo,
    WanFunControlToVideo,
    Wan22FunControlToVideo,
    Wan22ImageToVideoLatent,
    WanVaceToVideo,
    WanPhantomSubjectToVideo,
    TrimVideoLatent,
)
