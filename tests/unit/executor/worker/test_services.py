"""What nodes reach, and when it is made."""

from pathlib import Path

import pytest

from executor.files import Folders
from executor.settings import Settings
from executor.worker.services import Services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    settings = Settings(base_directory=tmp_path, vram_mode="cpu", reserve_vram_gb=0.5)
    return Services(settings=settings, folders=Folders(settings))


def test_the_memory_is_made_once(services: Services):
    assert services.memory is services.memory


def test_the_memory_follows_the_settings(services: Services):
    assert (services.memory.mode, services.memory.reserve_bytes) == ("cpu", 1 << 29)


def test_unloading_does_not_make_a_memory(services: Services):
    services.unload_models()
    assert "memory" not in vars(services)


def test_nothing_can_be_replaced(services: Services):
    with pytest.raises(AttributeError):
        services.folders = None  # type: ignore[assignment,misc]


def test_what_was_not_there_is_added_once(services: Services):
    registry = object()
    services.complete(registry=registry)
    assert services.registry is registry
    with pytest.raises(ValueError, match="registry is there already"):
        services.complete(registry=object())
