"""`comfy_api.util`: an older name of what stands in `comfy_api.latest`."""

from comfy_api.latest._util import VideoCodec, VideoComponents, VideoContainer

__all__ = ["VideoCodec", "VideoComponents", "VideoContainer"]
