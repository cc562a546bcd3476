"""One result per id: one row, one terminal event, and the files of one attempt."""

from itertools import takewhile

from tests.process.house import House, events_of, succeeded


def names(house: House) -> list[str]:
    return sorted(path.name for path in (house.base / "output").iterdir())


def test_files_of_a_lost_attempt_are_removed_before_it_runs_again(make_house, tmp_path):
    house: House = make_house().start()
    inputs = {"name": "lost", "count": 3, "bytes": 10, "tally": str(tmp_path / "tally"), "deaths": 1}
    prompt_id = house.submit("Write", **inputs)
    entry = house.ended(prompt_id)
    assert succeeded(entry)
    shown = [file["filename"] for file in entry["outputs"]["1"]["files"]]
    assert names(house) == sorted(shown) == [f"lost_{number:05}_.bin" for number in (1, 2, 3)]
    house.until(lambda: list((house.base / "user" / "attempts").iterdir()) == [])
    heard = events_of(house, last_event=0, prompt_id=prompt_id)
    told = [event["event"] for event in takewhile(lambda event: event["data"].get("node", "") is not None, heard)]
    assert (told.count("execution_start"), told.count("execution_success")) == (2, 1)
    assert list(house.get("/history").json()) == [prompt_id]


def test_files_are_removed_also_when_the_front_died_with_the_attempt(make_house, tmp_path):
    house: House = make_house().start().until_ready()
    prompt = {
        "1": {"class_type": "Write", "inputs": {"name": "lost", "count": 2, "bytes": 10}},
        "2": {"class_type": "Sleep", "inputs": {"seconds": 0.5, "mark": str(tmp_path / "mark")}},
    }
    prompt_id = house.post("/prompt", {"prompt": prompt}).json()["prompt_id"]
    house.until((tmp_path / "mark").exists)
    house.kill()
    (house.base / "output" / "mine.bin").write_bytes(b"not the attempt's")
    house.start()
    entry = house.ended(prompt_id)
    assert house.job(prompt_id)["attempts"] == 2
    shown = [file["filename"] for file in entry["outputs"]["1"]["files"]]
    assert names(house) == sorted([*shown, "mine.bin"])
    assert len(shown) == 2


def test_an_orderly_stop_is_no_attempt(make_house, tmp_path):
    house: House = make_house("--drain-timeout", "0.1").start().until_ready()
    prompt_id = house.submit("Steps", steps=2, seconds=0.01, go=str(tmp_path / "go"))
    for _ in range(2):
        house.until(lambda: house.is_running(prompt_id))
        assert house.stop() == 0
        house.start()
    (tmp_path / "go").touch()
    assert succeeded(house.ended(prompt_id))
    assert house.job(prompt_id)["attempts"] == 1
    assert list(house.get("/history").json()) == [prompt_id]
