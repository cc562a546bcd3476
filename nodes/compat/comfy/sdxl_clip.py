"""Text models of SDXL as packs test for them: Weft's own under these names. Their other classes are stand-ins."""

from __future__ import annotations

from comfy.sd1_clip import OfEncoders
from nodes.placeholders import fallback, missing

__getattr__ = fallback(__name__)


class SDXLClipModel(metaclass=OfEncoders):
    """Both text models of SDXL."""

    encoders = ("l", "g")

    def __init__(self, *given: object, **options: object) -> None:
        raise missing("comfy.sdxl_clip.SDXLClipModel")


class SDXLRefinerClipModel(metaclass=OfEncoders):
    """The text model of SDXL's refiner."""

    encoders = ("g",)

    def __init__(self, *given: object, **options: object) -> None:
        raise missing("comfy.sdxl_clip.SDXLRefinerClipModel")


class SDXLClipG(metaclass=OfEncoders):
    """SDXL's second text model by itself."""

    encoder = "g"

    def __init__(self, *given: object, **options: object) -> None:
        raise missing("comfy.sdxl_clip.SDXLClipG")
