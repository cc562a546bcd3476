"""`comfy_api.input_impl`: an older name of what stands in `comfy_api.latest`."""

from comfy_api.latest._input_impl import VideoFromComponents, VideoFromFile

__all__ = ["VideoFromComponents", "VideoFromFile"]
