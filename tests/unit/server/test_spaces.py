"""Keys that separate (--isolate-keys): each sees and changes only its own prompts and events."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from executor.errors import KeysUnusable
from executor.messages import Blob, Emit, Packs, Request
from executor.own_folders import folder_name
from executor.settings import Settings
from server.eventlog import Event, Wanted
from server.keys import key_ring
from server.main import keys_told
from server.results import ended_view

KEYS = """
[[key]]
name = "anna"
token = "anna's token 0123456789"
scopes = ["submit", "read"]

[[key]]
name = "bert"
token = "bert's token 0123456789"
scopes = ["submit", "read"]

[[key]]
name = "chief"
token = "chief's token 0123456789"

[[key]]
name = "board"
token = "board's token 0123456789"
scopes = ["read"]
isolate = false
"""


def by(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}'s token 0123456789"}


@pytest.fixture
async def stand(make_stand, tmp_path: Path):
    file = tmp_path / "keys.toml"
    file.write_text(KEYS)
    return await make_stand(auth_keys=file, isolate_keys=True)


async def post(stand, name: str, path: str, body: object, **headers: str):
    async with stand.post(path, json=body, headers={**by(name), **headers}) as answer:
        return answer.status, json.loads(await answer.text() or "null")


async def get(stand, name: str, path: str):
    async with stand.get(path, headers=by(name)) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def submit(stand, graph, name: str, prompt_id: str, **headers: str) -> None:
    status, answer = await post(stand, name, "/prompt", {"prompt": graph, "prompt_id": prompt_id}, **headers)
    assert (status, answer["prompt_id"]) == (200, prompt_id)


async def busy(stand, graph, *, running: str = "anna") -> None:
    """One prompt of `running` runs; `anna` and `bert` have one waiting each, both called `same`."""
    await submit(stand, graph, running, "runs")
    await stand.engine.job()
    for name in ("anna", "bert"):
        await submit(stand, graph, name, "same")


# ---------------------------------------------------------------- the queue


async def test_each_key_sees_its_own_queue_and_an_operator_all(stand, graph):
    await busy(stand, graph)
    seen = {}
    for name in ("anna", "bert", "chief", "board"):
        queue = await get(stand, name, "/queue")
        left = (await get(stand, name, "/prompt"))["exec_info"]["queue_remaining"]
        seen[name] = len(queue["queue_running"]), len(queue["queue_pending"]), left
    assert seen == {"anna": (1, 1, 2), "bert": (0, 1, 1), "chief": (1, 2, 3), "board": (1, 2, 3)}


async def test_clearing_and_deleting_leave_others_prompts(stand, graph):
    await busy(stand, graph)
    await post(stand, "bert", "/queue", {"clear": True})
    assert len((await get(stand, "anna", "/queue"))["queue_pending"]) == 1
    await post(stand, "bert", "/queue", {"delete": ["same"]})
    assert [job.owner for job in stand.front.store.pending()] == ["anna"]


async def test_an_interrupt_stops_only_ones_own(stand, graph):
    await busy(stand, graph)
    for body in ({}, {"prompt_id": "runs"}, {"prompt_id": "runs", "force": True}):
        await post(stand, "bert", "/interrupt", body)
    assert stand.engine.interrupted == []
    await post(stand, "anna", "/interrupt", {})
    await post(stand, "chief", "/interrupt", {})
    assert stand.engine.interrupted == ["runs", "runs"]


async def test_jobs_are_told_listed_and_cancelled_key_by_key(stand, graph):
    await busy(stand, graph)
    listed = await get(stand, "bert", "/api/jobs")
    assert (len(listed["jobs"]), listed["pagination"]["total"]) == (1, 1)
    assert (await get(stand, "bert", "/weft/jobs/same"))["queue_position"] == 1
    for path in ("/api/jobs/runs", "/weft/jobs/runs"):
        assert (await stand.get(path, headers=by("bert"))).status == 404
    assert await post(stand, "bert", "/api/jobs/runs/cancel", {}) == (200, {"cancelled": False})
    status, answer = await post(stand, "bert", "/api/jobs/cancel", {"job_ids": ["runs"]})
    assert (status, answer["invalid_ids"]) == (400, ["runs"])
    assert await post(stand, "bert", "/api/jobs/same/cancel", {}) == (200, {"cancelled": True})
    assert [job.owner for job in stand.front.store.pending()] == ["anna"]


# ---------------------------------------------------------------- history


async def test_history_is_seen_and_forgotten_key_by_key(stand, graph):
    for name in ("anna", "bert"):
        await submit(stand, graph, name, "same")
        await stand.engine.succeed({"2": {"text": [f"of {name}"]}})
        await stand.idle()
    for name in ("anna", "bert"):
        for path in ("/history", "/history/same"):
            assert (await get(stand, name, path))["same"]["outputs"] == {"2": {"text": [f"of {name}"]}}
    assert (await post(stand, "bert", "/history", {"clear": True}))[0] == 200
    assert (await post(stand, "bert", "/history", {"delete": ["same"]}))[0] == 200
    assert await get(stand, "bert", "/history") == {}
    assert list(await get(stand, "chief", "/history")) == ["same"]


async def test_a_key_that_sees_all_needs_manage_to_clear_the_history(stand):
    assert (await post(stand, "board", "/history", {"clear": True}))[0] == 403


# ---------------------------------------------------------------- folding


async def test_the_same_idempotency_key_of_two_keys_is_two_things(stand, graph):
    for name, prompt_id in (("anna", "1"), ("bert", "2"), ("anna", "1")):
        await submit(stand, graph, name, prompt_id, **{"Idempotency-Key": "k"})
    assert stand.front.store.remaining() == 2


async def test_an_equal_body_of_another_key_is_another_prompt(stand, graph):
    for name in ("anna", "bert", "bert"):
        await submit(stand, graph, name, "same")
    assert [stand.front.store.remaining(name) for name in ("anna", "bert")] == [1, 1]


# ---------------------------------------------------------------- events


async def websocket(stand, name: str, **query: str):
    socket = await stand.client.ws_connect("/ws", params={"clientId": "me", **query}, headers=by(name))
    return socket, await socket.receive_json(timeout=60)


async def test_a_client_id_that_another_key_took_brings_it_nothing(stand, graph):
    (anna, _), (bert, greeted), (chief, _) = [await websocket(stand, name) for name in ("anna", "bert", "chief")]
    assert greeted["data"]["sid"] == "me"
    told = [
        Emit(job_id="j", event="secret", data_json=b"{}", client_id="me", owner="anna"),
        Blob(job_id="j", kind="preview", node_id="1", body=b"secret", client_id="me", owner="anna"),
        Blob(job_id="j", kind="text", node_id="1", body=b"secret", owner="anna"),
        Emit(job_id="j", event="last", data_json=b"{}", client_id="me", owner="bert"),
    ]
    for message in told:
        stand.engine.tell(message)
    assert (await bert.receive_json(timeout=60))["type"] == "last"
    assert (await anna.receive_json(timeout=60))["type"] == "secret"
    for _ in range(2):
        assert b"secret" in await anna.receive_bytes(timeout=60)
    assert b"secret" in await chief.receive_bytes(timeout=60)  # a line of text is told to all who may hear it
    for socket in (anna, bert, chief):
        await socket.close()


async def test_status_counts_ones_own_prompts(stand, graph):
    (bert, greeted), (chief, whole) = [await websocket(stand, name) for name in ("bert", "chief")]
    counts = [greeted["data"]["status"], whole["data"]["status"]]
    await submit(stand, graph, "anna", "a")
    await submit(stand, graph, "bert", "b")
    counts.append((await bert.receive_json(timeout=60))["data"]["status"])
    assert [count["exec_info"]["queue_remaining"] for count in counts] == [0, 0, 1]
    told = (await chief.receive_json(timeout=60) for _ in range(2))
    assert 1 in [frame["data"]["status"]["exec_info"]["queue_remaining"] async for frame in told]
    for socket in (bert, chief):
        await socket.close()


async def test_a_websocket_that_comes_back_hears_only_its_own(stand):
    for owner in ("anna", "bert"):
        stand.engine.tell(Emit(job_id="j", event=f"of {owner}", data_json=b"{}", client_id="me", owner=owner))
    stand.engine.tell(Emit(job_id="j", event="to all of anna's", data_json=b"{}", audience="all", owner="anna"))
    async with asyncio.timeout(60):
        while len(stand.front.hub.log.after(0)) < 3:
            await asyncio.sleep(0)
    socket, _ = await websocket(stand, "bert", last_event="0")
    assert (await socket.receive_json(timeout=60))["type"] == "of bert"
    stand.engine.tell(Emit(job_id="j", event="last", data_json=b"{}", client_id="me", owner="bert"))
    assert (await socket.receive_json(timeout=60))["type"] == "last"
    await socket.close()


@pytest.mark.parametrize(
    ("event_owner", "name", "listener", "heard"),
    [
        ("anna", "executed", "anna", True),
        ("anna", "executed", "bert", False),
        ("anna", "status", None, False),
        ("anna", "executed", None, True),
        ("", "status", None, True),
        ("", "status", "anna", False),
    ],
)
def test_events_are_for_their_owner_and_for_who_sees_all(event_owner, name, listener, heard):
    event = Event(number=1, name=name, data_json=b"{}", owner=event_owner)
    assert (event in Wanted(owner=listener)) is heard


def test_a_client_id_of_another_owner_is_not_asked_for():
    event = Event(number=1, name="executed", data_json=b"{}", audience="owner", client_id="me", owner="anna")
    assert event not in Wanted(client_id="me")
    assert event in Wanted(client_id="me", owner="anna")


async def test_ends_that_fell_into_a_gap_are_those_of_the_key(stand, graph):
    for name in ("anna", "bert"):
        await submit(stand, graph, name, f"of {name}")
        await stand.engine.succeed()
        await stand.idle()
    stand.front.hub.log._gone = stand.front.hub.log.newest + 10**9
    stand.front.hub.log._events.clear()
    stand.front.hub.log._numbers.clear()
    async with stand.get("/weft/events", headers={**by("bert"), "Last-Event-ID": "1"}) as answer:
        text = b""
        while b"execution_success" not in text:
            text += await asyncio.wait_for(answer.content.readany(), 5)
    assert b"of bert" in text
    assert b"of anna" not in text


# ---------------------------------------------------------------- packs, figures


async def wish(stand, name: str, body: object, owner: str) -> object:
    stand.engine.tell(Request(id=1, wish=name, body_json=json.dumps(body).encode(), owner=owner))
    reply = await asyncio.wait_for(stand.engine.replies.get(), 5)
    assert reply.error is None, reply.error
    return json.loads(reply.value_json)


async def test_a_packs_node_sees_and_changes_what_is_its_prompts_owners(stand, graph):
    await busy(stand, graph)
    told = await wish(stand, "queue", None, "bert")
    assert [len(told["queue_running"]), len(told["queue_pending"])] == [0, 1]
    assert await wish(stand, "delete", ["same"], "bert") == ["same"]
    await wish(stand, "enqueue", [0, "by a node", graph, {}, ["2"]], "bert")
    assert {(job.owner, job.id) for job in stand.front.store.pending()} == {("anna", "same"), ("bert", "by a node")}


async def test_figures_of_all_are_not_for_a_key_that_sees_its_own(stand):
    seen = {name: (await stand.get("/metrics", headers=by(name))).status for name in ("anna", "chief", "board")}
    assert seen == {"anna": 403, "chief": 200, "board": 200}


# ---------------------------------------------------------------- settings


def test_separating_keys_where_there_are_none_is_refused():
    with pytest.raises(KeysUnusable, match="--auth-keys"):
        key_ring(Settings(isolate_keys=True))


def test_isolate_is_true_or_false(tmp_path: Path):
    file = tmp_path / "keys.toml"
    file.write_text('[[key]]\nname = "x"\ntoken = "x token 0123456789"\nisolate = "no"\n')
    with pytest.raises(KeysUnusable, match="isolate is true or false"):
        key_ring(Settings(auth_keys=file))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "asks for no key"),
        ({"auth_token": "one for everything"}, "asks for a key"),
        ({"auth_token": "one for everything", "isolate_keys": True}, "separates none: each has the scope manage"),
        ({"auth_keys": "keys.toml"}, "asks for one of 4 keys"),
        ({"auth_keys": "keys.toml", "isolate_keys": True}, "one of 4 keys, 2 of which see only what is their own"),
    ],
)
async def test_the_start_tells_how_many_keys_are_separated(make_stand, tmp_path: Path, options, told):
    (tmp_path / "keys.toml").write_text(KEYS)
    if "auth_keys" in options:
        options = {**options, "auth_keys": tmp_path / "keys.toml"}
    assert told in keys_told((await make_stand(**options)).front)


async def test_without_the_flag_owners_of_before_change_nothing(make_stand, tmp_path: Path, graph):
    file = tmp_path / "keys.toml"
    file.write_text(KEYS)
    before = await make_stand(auth_keys=file, isolate_keys=True)
    await submit(before, graph, "anna", "a")
    await before.engine.job()
    await before.stop()
    after = await make_stand(auth_keys=file)
    socket, greeted = await websocket(after, "bert")
    assert greeted["data"]["status"]["exec_info"]["queue_remaining"] == 1
    after.engine.tell(Emit(job_id="a", event="told", data_json=b"{}", client_id="me", owner="anna"))
    while (frame := await socket.receive_json(timeout=60))["type"] == "status":
        pass
    assert frame["type"] == "told"
    await socket.close()


# ---------------------------------------------------------------- files that others made


@pytest.fixture
async def saved(stand, graph) -> str:
    """Anna's prompt that ended and saved a file; and operators' own file of the same name."""
    outputs = {"2": {"images": [{"filename": "a.png", "subfolder": "sub", "type": "output"}]}}
    await submit(stand, graph, "anna", "saved")
    await stand.engine.succeed(outputs)
    await stand.idle()
    for folder, text in ((f"keys/{folder_name('anna')}/sub", "anna's"), ("sub", "operators'")):
        (stand.base / "output" / folder).mkdir(parents=True)
        (stand.base / "output" / folder / "a.png").write_text(text)
    return "saved"


def address(image: dict[str, str]) -> str:
    return f"/view?filename={image['filename']}&subfolder={image['subfolder']}&type={image['type']}"


@pytest.mark.parametrize("name", ["anna", "chief", "board"])
async def test_who_sees_a_job_finds_its_files_by_what_is_told_of_them(stand, saved, name):
    history = await get(stand, name, "/history")
    one = await get(stand, name, f"/history/{saved}")
    state = await get(stand, name, f"/weft/jobs/{saved}")
    job = await get(stand, name, f"/api/jobs/{saved}")
    (listed,) = (await get(stand, name, "/api/jobs"))["jobs"]
    outputs = [history[saved]["outputs"], one[saved]["outputs"], state["outputs"], job["outputs"]]
    images = [told["2"]["images"][0] for told in outputs]
    for image in (*images, job["preview_output"], listed["preview_output"]):
        async with stand.get(address(image), headers=by(name)) as answer:
            assert (answer.status, await answer.text()) == (200, "anna's")


async def test_entries_that_are_read_from_disk_are_told_the_same_way(stand, saved, monkeypatch):
    past = stand.front.store.past
    monkeypatch.setattr(past, "_whole", False)
    for name in ("anna", "chief"):
        kept = await get(stand, name, f"/history/{saved}"), await get(stand, name, "/history")
        with monkeypatch.context() as patch:
            patch.setattr(past, "_recent", {})
            patch.setattr(past, "_ranks", {})
            assert (await get(stand, name, f"/history/{saved}"), await get(stand, name, "/history")) == kept


@pytest.mark.parametrize(("name", "status"), [("anna", 200), ("chief", 200), ("bert", 404)])
async def test_an_address_of_a_file_serves_its_owner_and_operators(stand, saved, name, status):
    entry = await stand.front.store.past.entry(saved)
    (file,) = ended_view(entry, "")["files"]
    assert file["subfolder"] == "sub"
    async with stand.get(file["url"], headers=by(name)) as answer:
        assert answer.status == status
        assert status != 200 or await answer.text() == "anna's"


# ---------------------------------------------------------------- where things lie


async def test_where_packs_lie_is_told_to_who_manages(stand):
    folder = str(stand.base / "custom_nodes" / "p")
    stand.front.packs.take(Packs(report_json=json.dumps([{"name": "p", "folder": folder}]).encode()))
    assert (await get(stand, "chief", "/weft/packs"))[0]["folder"] == folder
    for name in ("anna", "board"):
        assert (await get(stand, name, "/weft/packs"))[0]["folder"] == "custom_nodes/p"


async def test_what_a_route_failed_at_is_told_without_the_servers_folders(stand, monkeypatch):
    async def fail(*_: object) -> None:
        raise LookupError(f"{stand.base}/output/keys/{folder_name('anna')}/a.png, {stand.base}/queue")

    monkeypatch.setattr(stand.front.submission, "accept", fail)
    _, told = await post(stand, "anna", "/prompt", {})
    assert told["error"]["message"] == "LookupError: output/a.png, queue"
