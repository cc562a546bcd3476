"""The node that takes a picture of the client's camera. Knows no camera: the client uploads the picture."""

from __future__ import annotations

from typing import ClassVar

from executor.inference.values import Image
from nodes.builtin.image_io import LoadImage
from nodes.builtin.inputs import InputTypes, flag, pixels
from nodes.builtin.services import check_input_file, file_hash, input_path


class WebcamCapture:
    """Gives the picture that the client's camera took."""

    PACK = "comfy_extras.nodes_webcam"
    DISPLAY_NAME = "Webcam Capture"
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "load_capture"
    FILE_CHECKS: ClassVar[dict[str, str]] = {"image": "image"}

    @classmethod
    def INPUT_TYPES(cls) -> InputTypes:
        """The inputs as listed."""
        return {
            "required": {
                "image": ("WEBCAM", {}),
                "width": pixels(0, 0),
                "height": pixels(0, 0),
                "capture_on_queue": flag(default=True),
            }
        }

    def load_capture(self, image: str, **_client: object) -> tuple[Image]:
        """The uploaded picture; size and time are the client's to choose."""
        return (LoadImage().load_image(image)[0],)

    @classmethod
    def IS_CHANGED(cls, image: str, **_client: object) -> str:
        """The hash of the file, so that a new picture is taken in."""
        return file_hash(input_path(image, "image"))

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        """True, or what is wrong; the server answers this by itself (FILE_CHECKS)."""
        return check_input_file(image, "image")


NODES = (WebcamCapture,)
