"""Nodes that put a person of pictures into a prompt. Know no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.contract.definition import FileChoices
from executor.contract.types import FileList
from executor.inference.values import Conditioning, Image
from nodes.builtin.inputs import InputTypes, text
from nodes.builtin.services import model_path, services

if TYPE_CHECKING:
    from executor.inference.photomaker import PhotoMaker
    from executor.inference.text.clip import Clip

PACK = "comfy_extras.nodes_photomaker"
CATEGORY = "_for_testing/photomaker"


class PhotoMakerLoader:
    """Loads a PhotoMaker."""

    LISTING = "v3"
    EXPERIMENTAL = True
    PACK = PACK
    CATEGORY = CATEGORY
    RETURN_TYPES = ("PHOTOMAKER",)
    FUNCTION = "load_photomaker_model"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        listed = FileList(FileChoices(source="photomaker"))
        return {"required": {"photomaker_model_name": ("COMBO", {"multiselect": False, "options": listed})}}

    def load_photomaker_model(self, photomaker_model_name: str) -> tuple[PhotoMaker]:
        """Load it; ModelFileError when the file is missing, broken or no PhotoMaker that can be loaded."""
        from executor.inference.photomaker import load_photomaker

        path = model_path("photomaker", photomaker_model_name, "photomaker_model_name")
        return (load_photomaker(path, services().memory),)


class PhotoMakerEncode:
    """Reads a prompt whose word before "photomaker" shows the person of the pictures."""

    LISTING = "v3"
    EXPERIMENTAL = True
    PACK = PACK
    CATEGORY = CATEGORY
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "apply_photomaker"

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        written = text(multiline=True, dynamicPrompts=True, default="photograph of photomaker")
        return {
            "required": {
                "photomaker": ("PHOTOMAKER", {}),
                "image": ("IMAGE", {}),
                "clip": ("CLIP", {}),
                "text": written,
            }
        }

    def apply_photomaker(self, photomaker: PhotoMaker, image: Image, clip: Clip, text: str) -> tuple[Conditioning]:
        """The conditioning; a prompt without the trigger is read as it is."""
        return (photomaker.encode(image, clip, text),)


NODES = (PhotoMakerLoader, PhotoMakerEncode)
