"""The host's modules as a worker offers them: nodes/compat on sys.path and the bridge open, taken away afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from executor.files import Folders
from executor.inference import samplers, schedules, seams
from executor.settings import Settings
from executor.worker.services import Services
from nodes import bridge, placeholders
from nodes.prompt_server import PromptServer

COMPAT = Path(__file__).parents[4] / "nodes" / "compat"
NAMES = {path.stem for path in COMPAT.iterdir() if path.suffix == ".py" or (path.is_dir() and path.name[0] != "_")}


@dataclass
class Missed:
    """Counts the names that a pack asked for in vain, as the packs' reports do."""

    names: list[str]

    def asking(self) -> SimpleNamespace:
        return SimpleNamespace(pack=SimpleNamespace(name="a_pack"), miss=self.miss)

    def miss(self, name: str) -> bool:
        self.names.append(name)
        return self.names.count(name) == 1


@dataclass
class Host:
    """A base folder, its services, and what was asked for in vain."""

    base: Path
    services: Services
    missed: list[str]

    def __call__(self, name: str) -> ModuleType:
        """One of the host's modules."""
        return import_module(name)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """The host's modules, imported anew for each test."""
    for kind in ("checkpoints", "loras"):
        (tmp_path / "models" / kind).mkdir(parents=True)
    settings = Settings(base_directory=tmp_path, vram_mode="cpu")
    services = Services(settings=settings, folders=Folders(settings))
    services.folders.create()
    missed: list[str] = []
    instance = vars(PromptServer).get("instance")
    tables = dict(samplers.SAMPLERS), list(samplers.SAMPLER_NAMES), dict(schedules.SCHEDULERS)
    names = list(schedules.SCHEDULER_NAMES)
    finders, path = list(sys.meta_path), list(sys.path)
    with seams.kept():
        bridge.open_for(SimpleNamespace(services=services, reports=Missed(missed), server=None, registry=None))
        sys.path.insert(0, str(COMPAT))
        placeholders.install()
        yield Host(tmp_path, services, missed)
        sys.meta_path[:], sys.path[:] = finders, path
        for name in [name for name in sys.modules if name.partition(".")[0] in NAMES]:
            del sys.modules[name]
        bridge.close()
    if instance is None:
        del PromptServer.instance
    else:
        PromptServer.instance = instance
    samplers.SAMPLERS.clear()
    samplers.SAMPLERS.update(tables[0])
    schedules.SCHEDULERS.clear()
    schedules.SCHEDULERS.update(tables[2])
    samplers.SAMPLER_NAMES[:], schedules.SCHEDULER_NAMES[:] = tables[1], names
