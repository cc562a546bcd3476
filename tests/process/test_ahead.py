"""A prompt is computed while the files of the one before are written: what kills, deletions and interrupts then do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import aiohttp
import pytest

from tests.process.front import graph
from tests.process.house import House, Json, events_of, succeeded


@dataclass(frozen=True, slots=True)
class Pair:
    """Prompt `a`, whose file waits to be written, and `b`, which is computed beside it until it may end."""

    house: House
    folder: Path
    a: str
    b: str

    def go(self, name: str) -> None:
        """Let one of them end."""
        (self.folder / f"{name}.go").touch()

    def runs(self, name: str) -> int:
        """How often one of them has come as far as its file."""
        return len((self.folder / f"{name}.mark").read_bytes())

    def ended(self) -> tuple[Json, Json]:
        """Let both end; their history entries."""
        self.go("a")
        self.go("b")
        return self.house.ended(self.a), self.house.ended(self.b)

    def attempts(self) -> list[int]:
        """What each counts."""
        return [self.house.job(prompt_id)["attempts"] for prompt_id in (self.a, self.b)]

    def files(self) -> list[str]:
        """The files that lie in their folder."""
        names = (path.name for path in (self.house.base / "output" / self.folder.name).iterdir())
        return sorted(name for name in names if not name.startswith("first"))


def both(house: House, folder: Path, *, stubborn: bool = False) -> Pair:
    """The worker writes the file of one prompt and computes the next, which listens to no stop if it is `stubborn`."""
    house.submit("Hold", name=f"{folder.name}/first", mark=str(folder / "first.mark"), go=str(folder / "first.go"))
    submitted: list[str] = []
    for class_type, name in (("Late", "a"), ("Late" if stubborn else "Hold", "b")):
        place = {
            "name": f"{folder.name}/{name}",
            "mark": str(folder / f"{name}.mark"),
            "go": str(folder / f"{name}.go"),
        }
        body = {"prompt": graph(class_type, **place), "client_id": folder.name}
        submitted.append(house.post("/prompt", body).json()["prompt_id"])
    (folder / "first.go").touch()
    for name in ("a", "b"):
        house.until((folder / f"{name}.mark").exists)
    house.until(lambda: house.queue()[0] == submitted[:1])
    assert house.queue() == ([submitted[0]], [submitted[1]])
    return Pair(house, folder, *submitted)


@pytest.fixture
def pair(house: House, tmp_path: Path) -> Pair:
    return both(house.until_ready(), tmp_path)


def told(entry: Json) -> list[str]:
    """The files that a history entry names."""
    return [file["filename"] for node in entry["outputs"].values() for file in node["files"]]


def heard(house: House) -> list[tuple[str, str]]:
    """What was told of prompts since the server's start: event and prompt, up to a prompt that ends now."""
    last = house.submit("Say", text="last")
    house.ended(last)
    events = takewhile(lambda event: event["data"] != {"node": None, "prompt_id": last}, events_of(house, last_event=0))
    return [(event["event"], event["data"]["prompt_id"]) for event in events if "prompt_id" in event["data"]]


def test_the_worker_is_killed_then(pair: Pair):
    pair.house.worker().kill()
    first, second = pair.ended()
    assert succeeded(first)
    assert succeeded(second)
    assert (pair.attempts(), pair.runs("a"), pair.runs("b")) == ([2, 1], 2, 2)
    assert pair.files() == sorted([*told(first), *told(second)]) == ["a_00001_.bin", "b_00001_.bin"]
    ends = [prompt_id for event, prompt_id in heard(pair.house) if event == "execution_success"]
    assert ends[-3:-1] == [pair.a, pair.b]
    assert (ends.count(pair.a), ends.count(pair.b)) == (1, 1)


def test_what_runs_is_interrupted_and_the_worker_killed_then(pair: Pair):
    pair.house.post("/interrupt")
    pair.house.worker().kill()
    first, second = pair.ended()
    assert (pair.house.job(pair.a)["state"], told(first), pair.runs("a")) == ("interrupted", [], 1)
    assert succeeded(second)
    assert pair.files() == ["b_00001_.bin"]


def test_the_next_one_is_deleted_then(pair: Pair):
    pair.house.post("/queue", {"delete": [pair.b]})
    assert pair.house.queue() == ([pair.a], [])
    pair.go("a")
    assert succeeded(pair.house.ended(pair.a))
    assert pair.b not in {prompt_id for _, prompt_id in heard(pair.house)}
    assert pair.house.entry(pair.b) is None
    pair.house.until(lambda: pair.files() == ["a_00001_.bin"])


def test_what_runs_is_interrupted_then(pair: Pair):
    pair.house.post("/interrupt")
    first, second = pair.ended()
    assert succeeded(first)
    assert succeeded(second)
    assert (pair.attempts(), pair.runs("a"), pair.runs("b")) == ([1, 1], 1, 1)


def test_an_equal_prompt_gets_the_result_of_the_one_before(house: House, tmp_path: Path):
    def place(name: str) -> dict[str, str]:
        return {"name": f"{tmp_path.name}/{name}", **{way: str(tmp_path / f"{name}.{way}") for way in ("mark", "go")}}

    house.until_ready().submit("Hold", **place("first"))
    submitted = [house.submit("Late", **place("a")) for _ in range(2)]
    (tmp_path / "first.go").touch()
    house.until((tmp_path / "a.mark").exists)
    house.until(lambda: house.queue() == (submitted[:1], submitted[1:]))
    (tmp_path / "a.go").touch()
    assert [told(house.ended(prompt_id)) for prompt_id in submitted] == [["a_00001_.bin"]] * 2
    assert (tmp_path / "a.mark").read_bytes() == b"x"


async def test_a_client_hears_one_after_the_other(house: House, tmp_path: Path):
    async with (
        aiohttp.ClientSession(house.url) as session,
        session.ws_connect(f"/ws?clientId={tmp_path.name}") as socket,
    ):
        pair = both(house, tmp_path)
        pair.go("b")
        pair.go("a")
        names: list[tuple[str, str]] = []
        while names[-1:] != [("executing None", pair.b)]:
            data = (frame := await socket.receive_json(timeout=60))["data"]
            if data.get("prompt_id") in (pair.a, pair.b) and not frame["type"].startswith("progress"):
                name = f"executing {data['node']}" if frame["type"] == "executing" else frame["type"]
                names.append((name, data["prompt_id"]))
    of_one = ["execution_start", "execution_cached", "executing 1", "executed", "execution_success", "executing None"]
    assert names == [(name, prompt_id) for prompt_id in (pair.a, pair.b) for name in of_one]


def test_the_front_is_killed_then(make_house: Callable[..., House], tmp_path: Path):
    house = make_house().start().until_ready()
    (folder := tmp_path / "pair").mkdir()
    pair = both(house, folder)
    house.kill()
    house.start()
    first, second = pair.ended()
    assert succeeded(first)
    assert succeeded(second)
    assert (pair.attempts(), pair.runs("a"), pair.runs("b")) == ([2, 1], 2, 2)
    assert pair.files() == sorted([*told(first), *told(second)])


def test_the_next_one_is_deleted_and_the_front_killed_then(make_house: Callable[..., House], tmp_path: Path):
    house = make_house().start().until_ready()
    (folder := tmp_path / "pair").mkdir()
    pair = both(house, folder, stubborn=True)
    house.post("/queue", {"delete": [pair.b]})
    house.kill()
    house.start()
    pair.go("a")
    assert succeeded(house.ended(pair.a))
    assert pair.files() == ["a_00001_.bin"]
