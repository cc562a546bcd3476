"""The log of a whole server as JSON: every line is one, whoever wrote it, with the prompt it is about."""

from __future__ import annotations

import json

from tests.process.house import House, Json


def lines(house: House) -> list[Json]:
    return [json.loads(line) for line in house.log().splitlines()]


def texts_about(house: House, prompt_id: str) -> set[str]:
    return {line["message"] for line in lines(house) if line.get("prompt_id") == prompt_id}


def test_whatever_a_node_writes_is_a_line_about_its_prompt(make_house):
    house: House = make_house("--log-format", "json").start().until_ready()
    prompt_id = house.submit("Speak", text="x")
    house.ended(prompt_id)
    wanted = {"printed x", "thread x", "native x", "program x"}
    house.until(lambda: wanted <= texts_about(house, prompt_id))
    by_text = {line["message"]: line for line in lines(house)}
    assert {by_text[text]["logger"] for text in wanted} == {"stdout", "stderr"}
    assert all(line["time"] and line["level"] for line in lines(house))


def test_the_last_words_of_a_worker_are_lines_about_the_prompt_that_ended_it(make_house, tmp_path):
    house: House = make_house("--log-format", "json").start().until_ready()
    prompt_id = house.submit("Segfault", tally=str(tmp_path / "tally"))
    house.ended(prompt_id)
    assert any("Fatal Python error: Segmentation fault" in text for text in texts_about(house, prompt_id))
    lines(house)


def test_lines_for_people_stay_as_nodes_wrote_them(make_house, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # a log in a file has each line when it is written
    house: House = make_house().start().until_ready()
    house.run("Speak", text="x")
    assert {"printed x", "thread x", "native x", "program x"} <= set(house.log().splitlines())
