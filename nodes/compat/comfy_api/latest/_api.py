"""What nodes may ask the server for while they run: progress. Knows neither events nor transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from executor import context
from executor.inference.pixels import to_pil
from nodes import bridge

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the work so far: a PIL picture, or a tensor [H, W, C] or [B, H, W, C] of which the first is shown.

    `whole` asks for its natural size.
    """

    picture: object
    whole: bool = False
    asked_for: bool = True  # by the node itself, whatever the server's preview method

    def image(self) -> Image.Image:
        """The picture, RGB."""
        if hasattr(self.picture, "convert"):
            return self.picture.convert("RGB")
        tensor = self.picture
        while tensor.ndim > 3:
            tensor = tensor[0]
        return to_pil(tensor).convert("RGB")


def set_progress(
    value: float,
    max_value: float,
    node_id: str | None = None,
    preview_image: object = None,
    ignore_size_limit: bool = False,
) -> None:
    """Tell how far a node is, the running one by default; ValueError where no node runs and none is named."""
    node_id = node_id or context.current().node_id
    if not node_id:
        raise ValueError("set_progress needs a node_id where no node is running")
    preview = None if preview_image is None else Shown(preview_image, whole=ignore_size_limit)
    bridge.running().sink.set(node_id, value, max_value, preview)


class Execution:
    """Progress, for async nodes."""

    async def set_progress(
        self,
        value: float,
        max_value: float,
        node_id: str | None = None,
        preview_image: object = None,
        ignore_size_limit: bool = False,
    ) -> None:
        """Tell how far a node is; ValueError where no node runs and none is named."""
        set_progress(value, max_value, node_id, preview_image, ignore_size_limit)


class ExecutionSync:
    """Progress, for ordinary nodes."""

    def set_progress(
        self,
        value: float,
        max_value: float,
        node_id: str | None = None,
        preview_image: object = None,
        ignore_size_limit: bool = False,
    ) -> None:
        """Tell how far a node is; ValueError where no node runs and none is named."""
        set_progress(value, max_value, node_id, preview_image, ignore_size_limit)


class ComfyAPI:
    """The server, for async nodes."""

    VERSION = "latest"
    STABLE = False
    Execution = Execution

    def __init__(self) -> None:
        self.execution = Execution()


class ComfyAPISync:
    """The server, for ordinary nodes."""

    VERSION = "latest"
    STABLE = False
    ExecutionSync = ExecutionSync

    def __init__(self) -> None:
        self.execution = ExecutionSync()
