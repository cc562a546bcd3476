"""What `import nodes` and `import server` answer inside packs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import nodes
import server
from executor.context import InterruptFlag
from executor.errors import Interrupted
from executor.messages import Run
from executor.worker.line import Line
from nodes import bridge
from nodes.builtin.image_io import PreviewImage
from nodes.packs.discover import Pack
from nodes.packs.report import Reports
from nodes.registry import Registry


@dataclass
class Services:
    """What bridge hands on."""

    line: Line


@dataclass
class Opened:
    """The packs of a worker, as far as the bridge needs them."""

    services: Services
    reports: Reports
    registry: Registry | None
    server: object = field(default_factory=object)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    registry = Registry()
    registry.add(PreviewImage, builtin=True)
    pack = Pack(name="asks", path=tmp_path / "asks")
    opened = Opened(Services(Line(control=object())), Reports([pack]), registry)
    opened.reports.loading = opened.reports.rows[0]
    bridge.open_for(opened)
    yield opened
    bridge.close()


def test_without_packs_nothing_is_there():
    with pytest.raises(AttributeError):
        _ = nodes.NODE_CLASS_MAPPINGS
    with pytest.raises(AttributeError):
        _ = server.PromptServer


def test_built_in_classes_go_by_their_names(opened: Opened):
    assert nodes.PreviewImage is PreviewImage


def test_tables_are_dicts_of_the_module(opened: Opened):
    nodes.NODE_CLASS_MAPPINGS["a"] = int
    assert bridge.live("NODE_CLASS_MAPPINGS") == {"a": int}


def test_table_may_be_replaced(opened: Opened):
    nodes.NODE_CLASS_MAPPINGS = {"b": int}
    assert bridge.live("NODE_CLASS_MAPPINGS") == {"b": int}


def test_constants_and_functions_are_there(opened: Opened):
    assert nodes.MAX_RESOLUTION == 16384
    assert callable(nodes.common_ksampler)


def test_star_import_brings_classes_and_tables(opened: Opened):
    names: dict[str, object] = {}
    exec("from nodes import *", names)
    assert names["PreviewImage"] is PreviewImage
    assert {"MAX_RESOLUTION", "NODE_CLASS_MAPPINGS", "common_ksampler"} <= set(names)


def test_name_that_is_not_there_is_counted(opened: Opened):
    assert not hasattr(nodes, "NoSuchNode")
    assert not hasattr(server, "no_such_name")
    assert opened.reports.rows[0].missing == ["nodes.NoSuchNode", "server.no_such_name"]


def test_modules_of_ours_are_not_counted(opened: Opened, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(nodes, "registry")
    assert not hasattr(nodes, "registry")
    assert opened.reports.rows[0].missing == []


def test_modules_that_packs_reach_through_the_server_are_there(opened: Opened):
    assert server.web.__name__ == "aiohttp.web"
    assert server.uuid.__name__ == "uuid"


def test_facade_is_there_for_packs(opened: Opened):
    assert server.PromptServer.instance is opened.server


def test_asking_for_a_name_is_told_once(opened: Opened):
    assert [bridge.asked("comfy.x"), bridge.asked("comfy.x")] == ["asks", None]


def test_interrupt_stops_the_running_prompt(opened: Opened):
    flag = InterruptFlag()
    opened.services.line.began(Run(job_id="a", prompt_json=b"{}", targets=()), flag)
    nodes.before_node_execution()
    nodes.interrupt_processing()
    assert flag.is_set()
    with pytest.raises(Interrupted):
        nodes.before_node_execution()


def test_interrupt_taken_back_stops_nothing(opened: Opened):
    flag = InterruptFlag()
    opened.services.line.began(Run(job_id="a", prompt_json=b"{}", targets=()), flag)
    nodes.interrupt_processing(False)
    assert not flag.is_set()


def test_services_are_ambient_only_while_packs_are_there(opened: Opened):
    assert bridge.ambient() is opened.services
    bridge.close()
    assert bridge.ambient() is None
