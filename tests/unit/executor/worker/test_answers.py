"""Questions of the front, answered without a process."""

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from executor.context import current
from executor.errors import UnknownName
from executor.files import Folders
from executor.messages import Ask
from executor.settings import Settings
from executor.worker.answers import answer
from executor.worker.services import Services
from tests.process.fake_nodes import load


@pytest.fixture
def services(tmp_path: Path) -> Services:
    settings = Settings(base_directory=tmp_path)
    return Services(settings=settings, folders=Folders(settings))


class Packs(SimpleNamespace):
    """Packs that note what they are asked."""

    def hook(self, body: dict[str, object]) -> dict[str, object]:
        return {**body, "hooked": True}

    def describe(self, names: Iterable[str]) -> tuple[list[object], dict[str, object]]:
        return [], {name: {} for name in names}

    def seen(
        self, owner: str, names: Iterable[str], *, differing: bool, limit_s: float
    ) -> tuple[list[object], dict[str, object]]:
        return [], {f"{name} of {owner}": {"differing": differing} for name in names}

    def changed(self, limit_s: float, enough: Callable[[], bool]) -> tuple[list[object], dict[str, object]]:
        return [], {"changed": {}}


def ask(question: str, body: object) -> Ask:
    return Ask(id=1, question=question, body_json=json.dumps(body).encode())


async def test_classes_are_described_anew(services: Services):
    told = json.loads(await answer(load(services), services, ask("describe", ["Say"])))
    assert [definition["name"] for definition in told["definitions"]] == ["Say"]
    assert set(told["wire"]) == {"Say"}


async def test_classes_that_list_what_lies_in_folders_find_them(services: Services, monkeypatch: pytest.MonkeyPatch):
    registry = load(services)
    _, said = registry.get("Say")
    listed = classmethod(lambda cls: {"required": {"base": ([str(current().services.folders.base)],)}})
    monkeypatch.setattr(said, "INPUT_TYPES", listed)
    told = await answer(registry, services, ask("describe", ["Say"]))
    assert str(services.folders.base) in told.decode()


async def test_description_of_an_unknown_class_fails(services: Services):
    with pytest.raises(UnknownName):
        await answer(load(services), services, ask("describe", ["Sayy"]))


async def test_without_packs_nothing_changes(services: Services):
    told = json.loads(await answer(load(services), services, ask("describe", None)))
    assert told == {"definitions": [], "wire": {}}


@pytest.mark.parametrize(("body", "told"), [(["A"], {"A": {}}), (None, {"changed": {}})])
async def test_packs_describe_their_classes(services: Services, body: object, told: dict[str, object]):
    services.complete(packs=Packs())
    answered = msgspec.json.decode(await answer(load(services), services, ask("describe", body)))
    assert answered == {"definitions": [], "wire": told}


async def test_what_the_main_thread_found_is_told_before_an_answer_about_changes(services: Services):
    services.complete(packs=Packs())
    with services.telling:
        answering = asyncio.ensure_future(answer(load(services), services, ask("describe", None)))
        done, _ = await asyncio.wait({answering}, timeout=0.05)
        assert not done
    assert json.loads(await answering)["wire"] == {"changed": {}}


async def test_packs_describe_their_classes_as_an_owner_sees_them(services: Services):
    body = {"owner": "anna", "names": ["A"], "differing": True}
    without = json.loads(await answer(load(services), services, ask("describe", body)))
    services.complete(packs=Packs())
    told = json.loads(await answer(load(services), services, ask("describe", body)))
    assert (without["wire"], told["wire"]) == ({}, {"A of anna": {"differing": True}})


async def test_prompt_passes_the_hooks_of_packs(services: Services):
    services.complete(packs=Packs())
    assert json.loads(await answer(load(services), services, ask("prompt_hook", {"a": 1}))) == {"a": 1, "hooked": True}


async def test_prompt_without_packs_stays_as_it_is(services: Services):
    question = Ask(id=1, question="prompt_hook", body_json=b'{"a":  NaN}')
    assert await answer(load(services), services, question) == b'{"a":  NaN}'
