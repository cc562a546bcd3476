"""An older name of `comfy_api.latest._input.video_types`."""

from comfy_api.latest._input.video_types import VideoInput

__all__ = ["VideoInput"]
