"""What a pack hands over its nodes with. Knows no loader."""

from __future__ import annotations

from abc import ABC, abstractmethod

from comfy_api.latest.io import ComfyNode


class ComfyExtension(ABC):
    """A pack: its entry point `comfy_entrypoint` returns one."""

    async def on_load(self) -> None:  # noqa: B027  # most packs have nothing to prepare
        """Prepare whatever the pack needs; called before its nodes are listed."""

    @abstractmethod
    async def get_node_list(self) -> list[type[ComfyNode]]:
        """The node classes of the pack."""
