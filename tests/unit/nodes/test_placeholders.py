"""Stand-ins for names that Weft lacks: what they let pass, what they refuse, what is counted."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest

from executor.errors import NotProvided
from nodes import bridge, placeholders


class Reports:
    """Counts what one pack asks for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def asking(self) -> SimpleNamespace:
        return SimpleNamespace(pack=SimpleNamespace(name="a_pack"), miss=self.miss)

    def miss(self, name: str) -> bool:
        self.names.append(name)
        return self.names.count(name) == 1


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Stand-ins installed; the names that were asked for."""
    reports = Reports()
    monkeypatch.setattr(bridge, "_opened", [SimpleNamespace(reports=reports)])
    placeholders.install()
    yield reports.names
    placeholders.remove()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("comfy_api_nodes", "app")]:
        del sys.modules[name]


def module(source: str) -> ModuleType:
    """A module of this source, made as imports make them."""
    made = ModuleType("made")
    exec(compile(source, "made.py", "exec"), vars(made))
    return made


@pytest.mark.parametrize(
    "source",
    [
        "import comfy_api_nodes.apis.client as x",
        "from comfy_api_nodes.apis import Client\nclass Own(Client): pass",
        "from comfy_api_nodes.apis import Client\ndef f(x: Client | None = None, y=Client.MODE) -> Client: pass",
        "from comfy_api_nodes.apis import Client\ntable = {Client.A: 1, Client.B: 2}\nassert len(table) == 2",
        "from comfy_api_nodes import decorate\n@decorate\ndef f(): return 3\nassert f() == 3",
        "from comfy_api_nodes import decorate\n@decorate(1, a=2)\ndef f(): return 3\nassert f() == 3",
        "from comfy_api_nodes import Client\nclient = Client()\nassert client is Client",
        "from comfy_api_nodes import Client, NAMES\nassert not isinstance(3, Client) and list(NAMES) == []",
        "import abc\nfrom comfy_api_nodes import Client\nclass Own(Client, abc.ABC): pass",
    ],
)
def test_a_module_that_uses_stand_ins_imports(asked: list[str], source: str):
    module(source)
    assert any(name.startswith("comfy_api_nodes") for name in asked)


@pytest.mark.parametrize(
    "use", ["Client()", "Own()", "Client.send(1)", "list(Client)", "Client['a']", "1 in Client", "len(Client)"]
)
def test_using_one_in_a_function_is_refused_by_name(asked: list[str], use: str):
    made = module(f"from comfy_api_nodes.apis import Client\nclass Own(Client): pass\ndef f(): {use}")
    with pytest.raises(NotProvided, match=r"needs comfy_api_nodes\.apis\.Client(\.send)?, not provided by Weft"):
        made.f()


def test_the_reason_is_told_where_there_is_one(asked: list[str]):
    assert "paid services" in str(placeholders.missing("comfy_api_nodes.apis.Client"))
    assert str(placeholders.missing("comfy.new")) == "needs comfy.new, not provided by Weft"


def test_a_test_whether_a_name_is_there_says_no(asked: list[str]):
    made = module("import comfy_api_nodes as x\nhas = hasattr(x, 'Client')\ngot = getattr(x, 'Client', 7)")
    assert (made.has, made.got) == (False, 7)
    assert made.x.Client is made.x.Client


def test_a_subclass_does_not_answer_for_what_it_lacks(asked: list[str]):
    made = module("from comfy_api_nodes import Client\nclass Own(Client):\n    A = 1")
    assert made.Own.A == 1
    with pytest.raises(AttributeError):
        _ = made.Own.VALIDATE_INPUTS


def test_only_names_of_the_host_are_answered(asked: list[str]):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("comfyui_of_somebody_else")


def test_the_log_tells_the_first_name_of_a_pack(asked: list[str], caplog: pytest.LogCaptureFixture):
    module("from comfy_api_nodes.apis import A, B")
    told = [record.message for record in caplog.records if record.name == "weft.packs"]
    assert len(told) == 1
    assert told[0].startswith("pack a_pack asks for comfy_api_nodes")
    assert {"comfy_api_nodes.apis.A", "comfy_api_nodes.apis.B"} <= set(asked)


def test_installing_twice_is_installing_once(asked: list[str]):
    before = len(sys.meta_path)
    placeholders.install()
    assert len(sys.meta_path) == before
