"""POST /weft/clean, and what jobs speak for."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from executor import sweep
from executor.errors import BadInput
from executor.keeping import keep_of
from executor.settings import Settings
from executor.sweep import Gone
from server.cleaning import cleaned
from server.retention import keeps_told

DAY_S = 86400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The base folder of `stand`."""
    return tmp_path


def put(path: Path, days: float, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - days * DAY_S,) * 2)
    return path


async def clean(stand, **body: object) -> dict[str, object]:
    answer = await stand.post("/weft/clean", json=body)
    assert answer.status == 200, await answer.text()
    return await answer.json()


async def test_temp_and_fetched_inputs_go_by_the_servers_bounds(stand, folder):
    put(folder / "temp" / "old.png", 8)
    put(folder / "temp" / "new.png", 6)
    put(folder / "input" / "weft_inputs" / "old.png", 31)
    put(folder / "input" / "keys" / "bert" / "weft_inputs" / "old.png", 31)
    put(folder / "input" / "mine.png", 1000)
    put(folder / "output" / "mine.png", 1000)
    told = await clean(stand)
    assert told["totals"] == {"temp": {"count": 1, "bytes": 10}, "input": {"count": 2, "bytes": 20}}
    assert sorted((one["folder"], one["name"]) for one in told["removed"]) == sorted(
        [
            ("temp", "old.png"),
            ("input", "weft_inputs/old.png"),
            ("input", "keys/bert/weft_inputs/old.png"),
        ]
    )
    assert not (folder / "temp" / "old.png").exists()
    assert (folder / "output" / "mine.png").exists()


async def test_whose_it_was_is_told(stand, folder):
    put(folder / "temp" / "old.png", 8)
    put(folder / "temp" / "keys" / "bert-1" / "old.png", 8)
    told = await clean(stand)
    assert {one["name"]: one["owner"] for one in told["removed"]} == {"old.png": "", "keys/bert-1/old.png": "bert-1"}


def test_what_is_removed_is_told_by_its_owner():
    gone = [
        Gone(folder="temp", name="a.png", nbytes=10, age_s=60),
        Gone(folder="temp", name="keys/bert-1/b.png", nbytes=20, age_s=60, owner="bert-1"),
        Gone(folder="history", name="id", nbytes=30, age_s=60, owner="bert-1"),
    ]
    assert cleaned(gone, Settings(), dry=False) == (
        "removed: 1 file from temp, 10 bytes\n"
        "removed: 1 file from temp, 20 bytes, of the key bert-1\n"
        "removed: 1 entry of the history, 30 bytes, of the key bert-1\n"
    )


async def test_a_dry_run_tells_and_removes_nothing(stand, folder):
    put(folder / "temp" / "old.png", 8)
    assert (await clean(stand, dry_run=True))["removed"][0]["name"] == "old.png"
    assert (await clean(stand, dry_run=True))["dry_run"] is True
    assert (folder / "temp" / "old.png").exists()


async def test_bounds_may_come_with_the_request(stand, folder):
    put(folder / "temp" / "old.png", 2)
    assert (await clean(stand, keep={"temp": ["3d"]}))["removed"] == []
    assert len((await clean(stand, keep={"temp": "1d"}))["removed"]) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"keep": {"temp": ["7"]}}, "write 30d"),
        ({"keep": {"temp": 7}}, "keep.temp is a list"),
        ({"keep": {"tmp": ["7d"]}}, "outputs, temp, inputs, history"),
        ({"keep": []}, None),
        ({"keep": 1}, "keep"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"dryrun": True}, "'dryrun' is no field"),
    ],
)
async def test_what_cannot_be_understood_is_refused_or_nothing(stand, body, words):
    answer = await stand.post("/weft/clean", json=body)
    if words is None:
        assert answer.status == 200
    else:
        assert answer.status == 400
        assert words in (await answer.json())["error"]["message"]


async def test_what_a_waiting_prompt_names_stays(stand, folder, graph):
    path = put(folder / "temp" / "sub" / "old.png", 8)
    node = {"class_type": "Sink", "inputs": {"image": ["1", 0], "note": "sub\\old.png [temp]"}}
    await stand.submit(prompt={**graph, "2": node})
    assert (await clean(stand))["removed"] == []
    assert path.exists()


async def test_while_a_prompt_runs_temp_files_since_its_start_stay(stand, folder, monkeypatch):
    monkeypatch.setattr(sweep, "YOUNG_NS", -(10**12))
    await stand.submit()
    await stand.engine.given.wait()
    for name, days in (("older.png", 1), ("running.png", -1 / DAY_S), ("newest.png", -2 / DAY_S)):
        put(folder / "temp" / name, days)
    told = await clean(stand, keep={"temp": ["1files"]})
    assert [one["name"] for one in told["removed"]] == ["older.png"]


async def test_history_goes_by_size_and_its_entries_count(stand):
    for name in "abc":
        await stand.submit(prompt_id=name)
        await stand.engine.succeed({"2": {"images": ["x" * 2000]}})
        await stand.idle()
    told = await clean(stand, keep={"history": ["5kB"]})
    assert [(one["folder"], one["name"]) for one in told["removed"]] == [("history", "a")]
    assert list(await (await stand.get("/history")).json()) == ["b", "c"]


async def test_removals_are_counted(stand, folder):
    put(folder / "temp" / "old.png", 8)
    await clean(stand)
    text = await (await stand.get("/metrics")).text()
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels == {"folder": "temp"}
    }
    assert values["weft_retention_removed_total"] == 1
    assert values["weft_retention_removed_bytes_total"] == 10


def test_bounds_of_a_request_take_the_place_of_the_settings_one_by_one():
    settings = Settings(keep_outputs=("30d",), keep_temp=("1d",))
    keeps = keeps_told({"temp": ["all"]}, settings)
    assert keeps.outputs == keep_of(["30d"])
    assert not keeps.temp.is_bounded


def test_bounds_with_a_number_among_the_words_are_refused():
    with pytest.raises(BadInput, match=r"keep\.temp"):
        keeps_told(json.loads('{"temp": ["7d", 3]}'), Settings())
