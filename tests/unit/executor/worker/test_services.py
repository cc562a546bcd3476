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


@pytest.fixture
def separate(tmp_path: Path) -> Services:
    settings = Settings(base_directory=tmp_path, vram_mode="cpu", isolate_keys=True)
    return Services(settings=settings, folders=Folders(settings))


def test_an_owner_has_folders_and_shares_everything_else(separate: Services):
    own = separate.of("anna")
    assert own.folders.root("output").parent == separate.folders.root("output") / "keys"
    assert own.folders.root("output").is_dir()
    assert own.memory is separate.memory
    assert own.previews is separate.previews
    assert (own.settings, own.line, own.moves()) == (separate.settings, separate.line, separate.moves())
    own.unload_models()


def test_what_is_listed_for_all_is_listed_of_folders_that_hold_nothing(separate: Services):
    (separate.folders.root("input")).mkdir(parents=True)
    (separate.folders.root("input") / "all.png").touch()
    assert separate.of_nobody().folders.files("input") == []


def test_folders_that_cannot_be_made_stop_nobody_yet(separate: Services):
    separate.folders.root("output").parent.mkdir(parents=True, exist_ok=True)
    separate.folders.root("output").write_text("a file in the place of the folder")
    assert not separate.of("anna").folders.root("output").exists()


def test_where_keys_do_not_separate_owners_are_one(services: Services):
    assert services.of("anna") is services
    assert services.of_nobody() is services


def test_nobodys_prompts_have_the_servers_folders(separate: Services):
    assert separate.of("") is separate


def test_what_was_not_there_is_added_once(services: Services):
    registry = object()
    services.complete(registry=registry)
    assert services.registry is registry
    with pytest.raises(ValueError, match="registry is there already"):
        services.complete(registry=object())
