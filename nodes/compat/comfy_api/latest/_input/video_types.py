"""Moving pictures as nodes pass them on: Weft's own VIDEO value."""

from __future__ import annotations

from executor.inference.video import VideoInput

__all__ = ["VideoInput"]
