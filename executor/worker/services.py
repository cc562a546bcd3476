"""What nodes reach through their RunContext: settings, folders, memory, registry. Set once, then frozen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from executor.files import Folders
from executor.settings import Settings

if TYPE_CHECKING:
    from executor.contract.registry import Registry
    from executor.inference.memory import Memory


@dataclass(frozen=True, kw_only=True)
class Services:
    """The worker's own things. `memory` is made at its first use, so that a start does not wait for diffusers."""

    settings: Settings
    folders: Folders
    registry: Registry | None = None  # None only while the registry is being loaded

    @cached_property
    def memory(self) -> Memory:
        """What is resident on the device."""
        from executor.inference.memory import Memory

        reserve_bytes = int((self.settings.reserve_vram_gb or 0.0) * 2**30)
        return Memory(mode=self.settings.vram_mode, reserve_bytes=reserve_bytes)

    def unload_models(self) -> None:
        """Take every model off the device, if any was ever loaded."""
        if "memory" in self.__dict__:
            self.memory.unload_all()
