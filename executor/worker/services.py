"""What nodes reach through their RunContext: settings, folders, memory, registry, the line to the front."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from executor.context import PreviewChoice
from executor.files import Folders
from executor.messages import Packs
from executor.own_folders import NOBODY, OwnFolders, folder_name
from executor.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.web import Application

    from executor.contract.definition import NodeDef
    from executor.contract.registry import Registry
    from executor.inference.memory import Memory
    from executor.worker.line import Line


Described = tuple[list["NodeDef"], dict[str, dict[str, object]]]
"""Definitions, and listings by name; a class that cannot be listed has none."""


class PackTable(Protocol):
    """The packs of a worker, as the worker needs them; made by the loader's module."""

    @property
    def app(self) -> Application | None:
        """The packs' own routes, None when there are none."""
        ...

    def hook(self, body: dict[str, object]) -> dict[str, object]:
        """The body of a POST /prompt after the packs' hooks."""
        ...

    def describe(self, names: Iterable[str]) -> Described:
        """Fresh definitions and listings of classes; UnknownName for one that is not there."""
        ...

    def seen(self, owner: str, names: Iterable[str], *, differing: bool, limit_s: float) -> Described:
        """Classes as an owner's prompts see them: these, and all that are listed otherwise than they were told."""
        ...

    def changed(self, limit_s: float, enough: Callable[[], bool]) -> Described:
        """The same of classes that are listed otherwise than when they were told, as far as time and `enough` allow."""
        ...

    def told(self, address: str) -> Packs:
        """What the front has to know of them; `address` is where their routes are served."""
        ...

    def close(self) -> None:
        """Take back what they find by importing."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Services:
    """The worker's own things; nothing is replaced, but packs meet them before the nodes are known (`complete`).

    `memory` is made at its first use, so that a start does not wait for diffusers.
    """

    settings: Settings
    folders: Folders
    registry: Registry | None = None  # None only while the registry is being loaded
    line: Line | None = None  # None outside a worker
    packs: PackTable | None = None  # None when there are none
    telling: Lock = field(default_factory=Lock)  # held from where changes of packs are looked for until they are told

    def complete(self, *, registry: Registry | None = None, packs: PackTable | None = None) -> None:
        """Add what was not there when these were made; ValueError for what was."""
        for name, value in (("registry", registry), ("packs", packs)):
            if value is not None:
                if getattr(self, name) is not None:
                    raise ValueError(f"the worker's {name} is there already")
                object.__setattr__(self, name, value)

    @cached_property
    def previews(self) -> PreviewChoice:
        """How pictures of the work so far are made where a prompt does not say it."""
        return PreviewChoice(self.settings.preview_method)

    @cached_property
    def memory(self) -> Memory:
        """What is resident on the device."""
        from executor.inference.devices import ways_of
        from executor.inference.memory import Memory

        reserve_bytes = int((self.settings.reserve_vram_gb or 0.0) * 2**30)
        return Memory(
            mode=self.settings.vram_mode,
            reserve_bytes=reserve_bytes,
            ways=ways_of(self.settings),
        )

    def of(self, owner: str) -> Services:
        """The same for prompts of an owner, with that one's folders; these where nobody owns any, or keys are one."""
        return OwnServices.made(self, folder_name(owner)) if owner and self.settings.isolate_keys else self

    def of_nobody(self) -> Services:
        """The same for what is listed once and shown to every owner: with data folders that hold nothing."""
        return OwnServices.made(self, NOBODY) if self.settings.isolate_keys else self

    def moves(self) -> tuple[int, int]:
        """How often models' modules were placed, and had to make room, in this process."""
        memory = self.__dict__.get("memory")
        return (0, 0) if memory is None else (memory.loads, memory.evictions)

    def unload_models(self) -> None:
        """Take every model off the device, if any was ever loaded."""
        if "memory" in self.__dict__:
            self.memory.unload_all()


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnServices(Services):
    """A worker's services with the folders of one owner; everything else is the worker's."""

    whole: Services

    @classmethod
    def made(cls, whole: Services, folder: str) -> OwnServices:
        """Those of an owner, whose folders are made; who writes into one that cannot be made hears why."""
        folders = OwnFolders(whole.folders, folder)
        with suppress(OSError):
            folders.create()
        return cls(
            settings=whole.settings,
            folders=folders,
            registry=whole.registry,
            line=whole.line,
            packs=whole.packs,
            whole=whole,
        )

    @property
    def previews(self) -> PreviewChoice:
        """How pictures of the work so far are made where a prompt does not say it."""
        return self.whole.previews

    @property
    def memory(self) -> Memory:
        """What is resident on the device."""
        return self.whole.memory

    def moves(self) -> tuple[int, int]:
        """How often models' modules were placed, and had to make room, in this process."""
        return self.whole.moves()

    def unload_models(self) -> None:
        """Take every model off the device, if any was ever loaded."""
        self.whole.unload_models()
