"""What a video is made of, and how it is kept: Weft's own."""

from __future__ import annotations

from executor.inference.video import VideoCodec, VideoComponents, VideoContainer

__all__ = ["VideoCodec", "VideoComponents", "VideoContainer"]
