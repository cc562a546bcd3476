"""Videos in files and videos made of pictures: Weft's own VIDEO values."""

from __future__ import annotations

from executor.inference.media import pyav
from executor.inference.video import VideoFromComponents, VideoFromFile

__all__ = ["VideoFromComponents", "VideoFromFile", "pyav"]
