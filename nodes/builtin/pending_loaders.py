"""Loaders of model kinds whose networks are not here yet: listed, because clients count on them, and they say so."""

from executor.errors import ModelFileError
from nodes.builtin.inputs import InputTypes, files
from nodes.builtin.services import model_path


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


NODES = (ImageOnlyCheckpointLoader,)
