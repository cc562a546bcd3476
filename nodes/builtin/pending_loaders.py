"""Loaders of model kinds whose networks are not here yet: listed, because clients count on them, and they say so."""

from executor.contract.definition import FileChoices
from executor.contract.types import FileList
from executor.errors import ModelFileError
from nodes.builtin.inputs import InputTypes, files
from nodes.builtin.services import model_path


class UpscaleModelLoader:
    """Refuses models that enlarge pictures, which are not supported yet."""

    LISTING = "v3"
    PACK = "comfy_extras.nodes_upscale_model"
    DISPLAY_NAME = "Load Upscale Model"
    CATEGORY = "loaders"
    RETURN_TYPES = ("UPSCALE_MODEL",)
    FUNCTION = "load_model"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        listed = FileList(FileChoices(source="upscale_models"))
        return {"required": {"model_name": ("COMBO", {"multiselect": False, "options": listed})}}

    def load_model(self, model_name: str) -> tuple[object]:
        """Raise ModelFileError saying what would do instead."""
        path = model_path("upscale_models", model_name, "model_name")
        reason = "cannot be loaded: models that enlarge pictures are not supported yet"
        raise ModelFileError(path, reason, "to enlarge a picture, scale it (ImageScale, ImageScaleBy)")


class ImageOnlyCheckpointLoader:
    """Refuses checkpoints of video models led by a picture, which are not supported yet."""

    PACK = "comfy_extras.nodes_video_model"
    DISPLAY_NAME = "Image Only Checkpoint Loader (img2vid model)"
    CATEGORY = "loaders/video_models"
    RETURN_TYPES = ("MODEL", "CLIP_VISION", "VAE")
    FUNCTION = "load_checkpoint"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"ckpt_name": files("checkpoints")}}

    def load_checkpoint(self, ckpt_name: str) -> tuple[object, object, object]:
        """Raise ModelFileError saying what would do instead."""
        path = model_path("checkpoints", ckpt_name, "ckpt_name")
        reason = "cannot be loaded here: video models led by a picture are not supported yet"
        raise ModelFileError(path, reason, "for other checkpoints, use CheckpointLoaderSimple")


NODES = (UpscaleModelLoader, ImageOnlyCheckpointLoader)
