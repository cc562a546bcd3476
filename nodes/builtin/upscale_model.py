"""Nodes that enlarge pictures by networks made for that. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.contract.definition import FileChoices
from executor.contract.types import FileList
from executor.inference.values import Image
from nodes.builtin.inputs import InputTypes
from nodes.builtin.services import model_path, services

if TYPE_CHECKING:
    from executor.inference.upscale import UpscaleModel

PACK = "comfy_extras.nodes_upscale_model"


class UpscaleModelLoader:
    """Loads a network that enlarges pictures."""

    LISTING = "v3"
    PACK = PACK
    DISPLAY_NAME = "Load Upscale Model"
    CATEGORY = "loaders"
    RETURN_TYPES = ("UPSCALE_MODEL",)
    FUNCTION = "load_model"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        listed = FileList(FileChoices(source="upscale_models"))
        return {"required": {"model_name": ("COMBO", {"multiselect": False, "options": listed})}}

    def load_model(self, model_name: str) -> tuple[UpscaleModel]:
        """Load it; ModelFileError when the file is missing, broken or of a kind that cannot be loaded."""
        from executor.inference.upscale import load_upscale_model

        return (load_upscale_model(model_path("upscale_models", model_name, "model_name"), services().memory),)


class ImageUpscaleWithModel:
    """Enlarges pictures by a network, tile by tile."""

    LISTING = "v3"
    PACK = PACK
    DISPLAY_NAME = "Upscale Image (using Model)"
    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {"required": {"upscale_model": ("UPSCALE_MODEL", {}), "image": ("IMAGE", {})}}

    def upscale(self, upscale_model: UpscaleModel, image: Image) -> tuple[Image]:
        """The larger pictures."""
        from executor.inference.upscale import upscale

        return (upscale(upscale_model, image),)


NODES = (UpscaleModelLoader, ImageUpscaleWithModel)
