"""`comfy_api.latest`: what packs write V3 nodes with."""

from comfy_api.latest import io, ui
from comfy_api.latest._api import ComfyAPI, ComfyAPISync
from comfy_api.latest._extension import ComfyExtension
from comfy_api.latest._input import AudioInput, ImageInput, LatentInput, MaskInput, VideoInput
from comfy_api.latest._input_impl import VideoFromComponents, VideoFromFile
from comfy_api.latest._util import MESH, VOXEL, VideoCodec, VideoComponents, VideoContainer
from nodes import placeholders


class Input:
    """The kinds of values that inputs bring."""

    Image = ImageInput
    Audio = AudioInput
    Mask = MaskInput
    Latent = LatentInput
    Video = VideoInput


class InputImpl:
    """Values that nodes can make."""

    VideoFromFile = VideoFromFile
    VideoFromComponents = VideoFromComponents


class Types:
    """What such values are made of."""

    VideoCodec = VideoCodec
    VideoContainer = VideoContainer
    VideoComponents = VideoComponents
    MESH = MESH
    VOXEL = VOXEL


ComfyAPI_latest = ComfyAPI
ComfyAPISync_latest = ComfyAPISync
IO = comfy_io = io
UI = ui

__getattr__ = placeholders.submodules(__name__)

__all__ = [
    "IO",
    "UI",
    "ComfyAPI",
    "ComfyAPISync",
    "ComfyExtension",
    "Input",
    "InputImpl",
    "Types",
    "comfy_io",
    "io",
    "ui",
]
