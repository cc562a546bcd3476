"""Classes of packs that are listed otherwise than before: told by the worker, asked at a listing or a mismatch."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from executor.contract.definition import FixedChoices, InputDef, NodeDef
from executor.messages import Packs, Refreshed
from server import renewal
from server.listing import split

PATIENCE_S = 60.0
NEWS = Packs(report_json=b"[{}]")


def choice(*values: str) -> NodeDef:
    """A pack's node that takes one of some values."""
    made = InputDef(name="file", type="COMBO", kind="required", choices=FixedChoices(values=values), bare_choices=True)
    return NodeDef(
        name="Chosen",
        display_name="Chosen",
        category="t",
        inputs=(made,),
        outputs=(),
        is_output=True,
        pack="custom_nodes.pack",
    )


def listing(*values: str) -> dict[str, object]:
    """Its entry."""
    return {"Chosen": {"input": {"required": {"file": [list(values)]}}}}


def described(*values: str) -> bytes:
    """A worker's answer to `describe`."""
    return msgspec.json.encode({"definitions": [choice(*values)], "wire": listing(*values)})


@pytest.fixture
async def site(make_stand, ready_message):
    """A front with that node beside the usual ones."""
    stand = await make_stand(ready=False)
    ready = msgspec.structs.replace(
        ready_message,
        definitions=(*ready_message.definitions, choice("old")),
        wire_json=json.dumps({**json.loads(ready_message.wire_json), **listing("old")}).encode(),
    )
    stand.engine.tell(ready)
    await stand.front.packs.arrived(PATIENCE_S)
    return stand


async def choices(site, path="/object_info") -> list[str]:
    entry = (await (await site.get(path)).json())["Chosen"]
    return entry["input"]["required"]["file"][0]


async def post(site, file: str):
    return await site.post("/prompt", json={"prompt": {"1": {"class_type": "Chosen", "inputs": {"file": file}}}})


@pytest.mark.parametrize("path", ["/object_info", "/object_info/Chosen"])
async def test_listing_asks_an_idle_worker_what_has_changed(site, path):
    async def answer(body):
        return described("new")

    site.engine.answers["describe"] = answer
    assert await choices(site, path) == ["new"]
    assert site.engine.asked == [("describe", None)]


async def test_a_worker_that_left_one_listing_waiting_holds_no_other(site, monkeypatch):
    come = asyncio.Event()

    async def answer(body):
        await come.wait()
        return described("new")

    site.engine.answers["describe"] = answer
    monkeypatch.setattr(renewal, "LISTING_WAIT_S", 0.01)
    assert await choices(site) == ["old"]
    monkeypatch.setattr(renewal, "LISTING_WAIT_S", 600.0)
    async with asyncio.timeout(PATIENCE_S):
        assert await choices(site) == ["old"]
        come.set()
        while await choices(site) == ["old"]:
            pass
    assert site.engine.asked[0] == ("describe", None)


async def test_listing_does_not_ask_a_busy_worker(site):
    await site.submit()
    await site.engine.job()
    assert await choices(site) == ["old"]
    assert site.engine.asked == []


async def test_listing_does_not_ask_without_packs(stand):
    await stand.get("/object_info")
    assert stand.engine.asked == []


async def test_listing_shows_what_is_known_when_the_worker_is_slow(site, monkeypatch):
    monkeypatch.setattr("server.renewal.LISTING_WAIT_S", 0.01)
    go_on = asyncio.Event()

    async def answer(body):
        await go_on.wait()
        return described("new")

    site.engine.answers["describe"] = answer
    seen = [await choices(site), await choices(site)]
    assert (seen, len(site.engine.asked)) == ([["old"], ["old"]], 1)
    go_on.set()
    assert await choices(site) == ["new"]


async def test_late_answer_to_a_prompts_question_is_taken(site, monkeypatch):
    monkeypatch.setattr("server.renewal.PROMPT_WAIT_S", 0.01)
    go_on = asyncio.Event()

    async def answer(body):
        await go_on.wait()
        return described("new")

    site.engine.answers["describe"] = answer
    statuses = [(await post(site, "new")).status]
    go_on.set()
    while site.front.renewal._open:
        await asyncio.sleep(0)
    statuses.append((await post(site, "new")).status)
    assert statuses == [400, 200]


async def test_listing_survives_nonsense(site):
    async def answer(body):
        return b'{"definitions": 5, "wire": {}}'

    site.engine.answers["describe"] = answer
    assert await choices(site) == ["old"]


async def test_prompt_with_a_new_choice_is_checked_against_a_fresh_list(site):
    async def answer(body):
        return described("old", "new")

    site.engine.answers["describe"] = answer
    assert (await post(site, "new")).status == 200
    assert site.engine.asked == [("describe", ["Chosen"])]


async def test_prompt_with_a_wrong_choice_is_refused_after_a_second_look(site):
    async def answer(body):
        return described("new")

    site.engine.answers["describe"] = answer
    refusal = (await (await post(site, "none")).json())["node_errors"]["1"]["errors"][0]
    assert (refusal["type"], refusal["details"]) == ("value_not_in_list", "file: 'none' not in ['new']")


async def test_worker_tells_news_by_itself(site):
    news = Refreshed(definitions=(choice("new"),), wire_json=json.dumps(listing("new")).encode(), packs=NEWS)
    site.engine.tell(news)
    while site.front.packs.told != NEWS:
        await asyncio.sleep(0)
    await site.submit()
    await site.engine.job()
    assert await choices(site) == ["new"]


async def test_class_that_cannot_be_listed_any_more_goes_off_the_list(site):
    site.engine.tell(Refreshed(definitions=(choice("new"),), wire_json=b"{}", packs=NEWS))
    while site.front.packs.told != NEWS:
        await asyncio.sleep(0)
    assert set(json.loads(await site.front.definitions.object_info())) == {"Source", "Sink", "Pick"}


async def test_news_are_in_the_next_snapshot(site, make_stand):
    site.front.definitions.merge({"Chosen": choice("new")}, split(json.dumps(listing("new")).encode()))
    await site.stop()
    stand = await make_stand(ready=False)
    assert await choices(stand) == ["new"]


async def test_owners_see_lists_of_their_own(make_stand, ready_message, tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text(
        "\n".join(
            f'[[key]]\nname = "{name}"\ntoken = "{name}-0123456789abcdef"\nscopes = ["submit", "read"]'
            for name in ("anna", "bert")
        )
    )
    stand = await make_stand(ready=False, auth_keys=keys, isolate_keys=True)
    ready = msgspec.structs.replace(
        ready_message,
        definitions=(*ready_message.definitions, choice()),
        wire_json=json.dumps({**json.loads(ready_message.wire_json), **listing()}).encode(),
    )
    asked: list[object] = []

    async def describe(question: object) -> bytes:
        asked.append(question)
        owner = question["owner"] if isinstance(question, dict) else ""
        return described(f"of {owner}") if owner else described()

    stand.engine.answers["describe"] = describe
    stand.engine.tell(ready)
    await stand.front.packs.arrived(PATIENCE_S)
    seen = {}
    for name in ("anna", "bert"):
        headers = {"Authorization": f"Bearer {name}-0123456789abcdef"}
        for path in ("/object_info", "/object_info/Chosen"):
            entry = (await (await stand.get(path, headers=headers)).json())["Chosen"]
            seen.setdefault(name, []).append(entry["input"]["required"]["file"][0])
        body = {"prompt": {"1": {"class_type": "Chosen", "inputs": {"file": "of anna"}}}}
        seen[name].append((await stand.post("/prompt", json=body, headers=headers)).status)
    assert seen == {"anna": [["of anna"], ["of anna"], 200], "bert": [["of bert"], ["of bert"], 400]}
    assert {"owner": "anna", "names": ["Chosen"], "differing": True} in asked  # what it lists already, looked at anew
