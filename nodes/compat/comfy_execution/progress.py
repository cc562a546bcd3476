"""`comfy_execution.progress`: how far the nodes of the running prompt are. The keeping is Weft's (executor.graph)."""

from __future__ import annotations

from comfy_api.latest._api import Shown

from nodes import bridge, placeholders

__getattr__ = placeholders.fallback(__name__)


class ProgressRegistry:
    """The progress of the running prompt, as packs reach it."""

    @property
    def prompt_id(self) -> str:
        """The running prompt."""
        return bridge.running().job_id

    @property
    def handlers(self) -> dict[str, object]:
        """Handlers of packs: none are called, Weft tells progress to clients by itself."""
        return {}

    def update_progress(self, node_id: str, value: float, max_value: float, image: object = None) -> None:
        """Tell how far a node is; `image` is a picture, or (format, picture, longest side)."""
        picture = image[1] if isinstance(image, tuple) else image
        whole = isinstance(image, tuple) and len(image) > 2 and image[2] is None
        shown = None if picture is None else Shown(picture, whole=whole)
        bridge.running().sink.set(node_id, value, max_value, shown)

    def start_progress(self, node_id: str) -> None:
        """Tell that a node has begun."""
        bridge.running().sink.set(node_id, 0.0, 1.0, None)

    def finish_progress(self, node_id: str) -> None:
        """Tell that a node is through its steps."""
        bridge.running().sink.set(node_id, 1.0, 1.0, None)


def get_progress_state() -> ProgressRegistry:
    """The progress of the running prompt."""
    return ProgressRegistry()
