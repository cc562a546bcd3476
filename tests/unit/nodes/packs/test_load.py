"""Importing one pack: its module, its nodes, its folder for browsers, and what it may not break."""

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from nodes.packs.discover import Pack
from nodes.packs.load import as_on_loop, classes_of, import_pack, kept_logging, web_folders_of


@pytest.fixture
def pack(tmp_path: Path) -> Iterator[Pack]:
    folder = tmp_path / "a.pack"
    folder.mkdir()
    pack = Pack(name="a.pack", path=folder)
    yield pack
    for name in [name for name in sys.modules if name.startswith(pack.key)]:
        del sys.modules[name]


def write(pack: Pack, **files: str) -> None:
    for name, text in files.items():
        (pack.path / f"{name}.py").write_text(text)


def test_module_is_known_by_its_key(pack: Pack):
    write(pack, __init__="value = 1")
    assert import_pack(pack) is sys.modules[pack.key]


def test_relative_imports_work(pack: Pack):
    write(pack, __init__="from .part import value", part="from . import __name__ as value")
    assert import_pack(pack).value == pack.key


def test_pack_that_fails_leaves_no_module(pack: Pack):
    write(pack, __init__="raise ValueError('no')")
    with pytest.raises(ValueError, match="no"):
        import_pack(pack)
    assert pack.key not in sys.modules


def test_parts_are_imported_anew_with_the_pack(pack: Pack):
    write(pack, __init__="from .part import value", part="value = object()")
    assert import_pack(pack).value is not import_pack(pack).value


def test_mapping_wins_over_the_entry_point():
    module = ModuleType("made")
    module.NODE_CLASS_MAPPINGS = {"A": int}
    module.comfy_entrypoint = pytest.fail
    assert classes_of(module) == {"A": int}


class Node:
    @classmethod
    def GET_SCHEMA(cls) -> object:
        return type("Schema", (), {"node_id": "By Schema"})


class Extension:
    async def get_node_list(self) -> list[type]:
        return [Node]


async def late_extension() -> Extension:
    return Extension()


@pytest.mark.parametrize("entry", [Extension, late_extension])
def test_entry_point_may_be_a_function_or_a_coroutine(entry: object):
    module = ModuleType("made")
    module.comfy_entrypoint = entry
    assert classes_of(module) == {"By Schema": Node}


def test_module_without_nodes_has_none():
    assert classes_of(ModuleType("made")) == {}


def test_web_folder_goes_by_the_packs_name(pack: Pack):
    (pack.path / "js").mkdir()
    module = ModuleType("made")
    module.WEB_DIRECTORY = "./js"
    assert web_folders_of(pack, module) == {"a.pack": str(pack.path / "js")}


def test_web_folder_of_a_project_goes_by_the_projects_name(pack: Pack):
    (pack.path / "js").mkdir()
    (pack.path / "pyproject.toml").write_text('[project]\nname = "proper"\n[tool.comfy]\nweb = "js"\n')
    assert web_folders_of(pack, ModuleType("made")) == {"proper": str(pack.path / "js")}


@pytest.mark.parametrize("text", ["not toml [", "project = 3", '[tool]\ncomfy = "x"', '[tool.comfy]\nweb = "absent"'])
def test_project_file_that_says_nothing_is_no_error(pack: Pack, text: str):
    (pack.path / "pyproject.toml").write_text(text)
    assert web_folders_of(pack, ModuleType("made")) == {}


def test_web_folder_that_is_not_there_is_left_out(pack: Pack):
    module = ModuleType("made")
    module.WEB_DIRECTORY = "./js"
    assert web_folders_of(pack, module) == {}


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that runs on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_task_made_while_importing_runs_on_the_servers_loop(loop: asyncio.AbstractEventLoop):
    ran = threading.Event()
    threads: list[str] = []

    async def note() -> None:
        threads.append(threading.current_thread().name)
        ran.set()

    with as_on_loop(loop):
        task = asyncio.create_task(note())
    assert ran.wait(60)
    assert task.get_loop() is loop
    assert threads != [threading.current_thread().name]


def test_no_loop_runs_afterwards(loop: asyncio.AbstractEventLoop):
    with as_on_loop(loop):
        pass
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_logging_is_put_back():
    root, mine = logging.getLogger(), logging.NullHandler()
    root.addHandler(mine)
    try:
        level = root.level
        with kept_logging():
            logging.basicConfig(force=True)  # puts a stream in the place of every handler
            root.setLevel(logging.CRITICAL)
            logging.disable(logging.CRITICAL)
        assert mine in root.handlers
        assert not [item for item in root.handlers if type(item) is logging.StreamHandler]
        assert (root.level, logging.root.manager.disable) == (level, 0)
    finally:
        root.removeHandler(mine)
