"""Nodes of models that a picture leads to a video. Know no network; the maths is executor.inference's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from executor.errors import NodeInputError
from executor.inference.guidance_rules import by_frame, rising, triangle
from executor.inference.led_by_picture import leading_picture, video_sides
from executor.inference.values import Conditioning, Image, Latent
from nodes.builtin.conditioning import packed, with_values
from nodes.builtin.inputs import PNG_HIDDEN, InputTypes, decimal, files, integer, pixels, socket, text
from nodes.builtin.loaders import read_checkpoint
from nodes.builtin.model_saving import VAE, diffusion_tensors, vae_tensors, write
from nodes.builtin.services import services

if TYPE_CHECKING:
    from executor.inference.handle import ModelHandle
    from executor.inference.vae import Vae
    from executor.inference.vision import ClipVision

PACK = "comfy_extras.nodes_video_model"
MOST_FRAMES = 4096


class ImageOnlyCheckpointLoader:
    """Loads a checkpoint that a picture leads: diffusion model, vision model and VAE."""

    PACK = PACK
    DISPLAY_NAME = "Image Only Checkpoint Loader (img2vid model)"
    CATEGORY = "loaders/video_models"
    RETURN_TYPES = ("MODEL", "CLIP_VISION", "VAE")
    FUNCTION = "load_checkpoint"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"ckpt_name": files("checkpoints")}}

    def load_checkpoint(
        self, ckpt_name: str, output_vae: bool = True, output_clip: bool = True
    ) -> tuple[ModelHandle, ClipVision | None, Vae | None]:
        """Load it, without a vision model where the file has none.

        Raises ModelFileError when the file is missing or no checkpoint that can be loaded.
        """
        from executor.inference.vision import vision_of_checkpoint

        checkpoint = read_checkpoint(ckpt_name)
        vision = vision_of_checkpoint(checkpoint.file, services().memory)
        return checkpoint.model, vision, checkpoint.vae if output_vae else None


class ImageOnlyCheckpointSave:
    """Saves a model that a picture leads, its vision model and VAE as one checkpoint."""

    PACK = PACK
    CATEGORY = "advanced/model_merging"
    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "model": socket("MODEL"),
                "clip_vision": socket("CLIP_VISION"),
                "vae": socket("VAE"),
                "filename_prefix": text(default="checkpoints/ComfyUI"),
            },
            "hidden": dict(PNG_HIDDEN),
        }

    def save(
        self,
        model: ModelHandle,
        clip_vision: ClipVision,
        vae: Vae,
        filename_prefix: str,
        prompt: object = None,
        extra_pnginfo: Mapping[str, object] | None = None,
    ) -> dict[str, object]:
        """Write all three; NodeInputError for a model whose checkpoints hold no vision model."""
        from executor.inference.families.saving import checkpoint_vision

        tensors = diffusion_tensors(model) | checkpoint_vision(model.family, seeing(clip_vision))
        tensors |= {VAE + name: weight for name, weight in vae_tensors(vae)}
        return write(tensors, filename_prefix, prompt, extra_pnginfo)


class SVD_img2vid_Conditioning:  # noqa: N801  (the ecosystem's name)
    """Makes what leads a video of a picture, its size, speed and motion."""

    PACK = PACK
    CATEGORY = "conditioning/video_models"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = ("positive", "negative", "latent")
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "clip_vision": socket("CLIP_VISION"),
                "init_image": socket("IMAGE"),
                "vae": socket("VAE"),
                "width": pixels(1024, 16, 8),
                "height": pixels(576, 16, 8),
                "video_frames": integer(14, 1, MOST_FRAMES),
                "motion_bucket_id": integer(127, 1, 1023),
                "fps": integer(6, 1, 1024),
                "augmentation_level": decimal(0.0, 0.0, 10.0),
            }
        }

    def encode(
        self,
        clip_vision: ClipVision,
        init_image: Image,
        vae: Vae,
        width: int,
        height: int,
        video_frames: int,
        motion_bucket_id: int,
        fps: int,
        augmentation_level: float,
    ) -> tuple[Conditioning, Conditioning, Latent]:
        """The picture in any size is scaled and cut to this one; the negative side sees no picture."""
        led = leading_picture(seeing(clip_vision), vae, init_image, (width, height), augmentation_level)
        told = {"motion_bucket_id": motion_bucket_id, "fps": fps, "augmentation_level": augmentation_level}
        positive, negative = (packed([(meaning, {**told, **options})]) for meaning, options in video_sides(led))
        return positive, negative, {"samples": led.empty(video_frames)}


class VideoLinearCFGGuidance:
    """Lets the guidance grow from the first frame to the last."""

    PACK = PACK
    CATEGORY = "sampling/video_models"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"model": socket("MODEL"), "min_cfg": decimal(1.0, 0.0, 100.0, 0.5, round=0.01)}}

    def patch(self, model: ModelHandle, min_cfg: float) -> tuple[ModelHandle]:
        """A copy guided so: `min_cfg` at the first frame, the sampler's scale at the last."""
        patched = model.clone()
        patched.set_model_sampler_cfg_function(by_frame(rising, min_cfg), disable_cfg1_optimization=min_cfg != 1.0)
        return (patched,)


class VideoTriangleCFGGuidance(VideoLinearCFGGuidance):
    """Lets the guidance grow to the middle frame and fall again."""

    def patch(self, model: ModelHandle, min_cfg: float) -> tuple[ModelHandle]:
        """A copy guided so: `min_cfg` at both ends, the sampler's scale in the middle."""
        patched = model.clone()
        patched.set_model_sampler_cfg_function(by_frame(triangle, min_cfg), disable_cfg1_optimization=min_cfg != 1.0)
        return (patched,)


class ConditioningSetAreaPercentageVideo:
    """Limits conditioning to a box in parts of a video."""

    PACK = PACK
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "append"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "conditioning": socket("CONDITIONING"),
                "width": decimal(1.0, 0, 1.0),
                "height": decimal(1.0, 0, 1.0),
                "temporal": decimal(1.0, 0, 1.0),
                "x": decimal(0, 0, 1.0),
                "y": decimal(0, 0, 1.0),
                "z": decimal(0, 0, 1.0),
                "strength": decimal(1.0, 0.0, 10.0),
            }
        }

    def append(
        self,
        conditioning: Conditioning,
        width: float,
        height: float,
        temporal: float,
        x: float,
        y: float,
        z: float,
        strength: float,
    ) -> tuple[Conditioning]:
        """The box is kept as parts of the video: frames, height, width, z, y, x."""
        area = ("percentage", temporal, height, width, z, y, x)
        return (with_values(conditioning, {"area": area, "strength": strength, "set_area_to_bounds": False}),)


def seeing(clip_vision: ClipVision | None) -> ClipVision:
    """A vision model that is there; NodeInputError for the lack of one."""
    if clip_vision is None:
        reason = "input 'clip_vision': the checkpoint holds no vision model"
        raise NodeInputError(
            f"{reason}; a checkpoint of Stable Video Diffusion does, or load one with CLIPVisionLoader"
        )
    return clip_vision


NODES = (
    ImageOnlyCheckpointLoader,
    ImageOnlyCheckpointSave,
    SVD_img2vid_Conditioning,
    VideoLinearCFGGuidance,
    VideoTriangleCFGGuidance,
    ConditioningSetAreaPercentageVideo,
)
