"""What videos and shapes are made of."""

from comfy_api.latest._util.geometry_types import MESH, VOXEL
from comfy_api.latest._util.video_types import VideoCodec, VideoComponents, VideoContainer

__all__ = ["MESH", "VOXEL", "VideoCodec", "VideoComponents", "VideoContainer"]
