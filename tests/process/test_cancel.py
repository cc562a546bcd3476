"""Exact cancel: races with completion end one way or the other, never twice, and never a neighbour's job."""

import json
import threading

import pytest

from tests.process.house import House, succeeded

RACES = 50


def race(house: House, number: int) -> None:
    """Cancel a job about when it ends, while its neighbours wait; each has one end, the neighbours a good one."""
    before = house.submit("Say", text=f"before {number}")
    chosen = house.submit("Sleep", seconds=(number % 5) * 0.01)
    after = house.submit("Say", text=f"after {number}")
    house.until(lambda: not {before, chosen} <= set(house.queue()[1]))
    threading.Event().wait((number % 7) * 0.004)
    answer = house.post(f"/api/jobs/{chosen}/cancel").json()
    assert all(succeeded(house.ended(prompt_id)) for prompt_id in (before, after))
    house.until(lambda: house.queue() == ([], []))
    entry = house.entry(chosen)
    if entry is None:
        assert answer == {"cancelled": True}
        return
    names = [name for name, _ in entry["status"]["messages"]]
    assert sum(name in ("execution_success", "execution_interrupted", "execution_error") for name in names) == 1
    assert names[-1] == ("execution_success" if succeeded(entry) else "execution_interrupted")
    assert answer["cancelled"] or succeeded(entry)


def test_races_of_cancel_and_completion_end_one_way(house: House):
    for number in range(RACES):
        race(house, number)


@pytest.mark.soak
def test_five_hundred_races(house: House):
    for number in range(500):
        race(house, number)


def test_force_ends_a_job_that_ignores_a_cancel_and_no_other(house: House, tmp_path):
    prompt_id = house.submit("Spin", mark=str(tmp_path / "mark"))
    waiting = house.submit(text="waits")
    house.until((tmp_path / "mark").exists)
    assert house.post(f"/api/jobs/{prompt_id}/cancel").json() == {"cancelled": True}
    assert house.queue() == ([prompt_id], [waiting])
    assert house.post(f"/api/jobs/{prompt_id}/cancel", {"force": True}).json() == {"cancelled": True}
    assert house.ended(prompt_id)["status"]["messages"][-1][0] == "execution_interrupted"
    assert succeeded(house.ended(waiting))
    assert house.job(waiting)["attempts"] == 1


def test_a_forced_cancel_right_after_the_end_costs_nobody_an_attempt(house: House):
    for number in range(5):
        prompt_id = house.submit("Sleep", seconds=0.02)
        waiting = house.submit("Say", text=f"neighbour {number}")
        house.until(lambda prompt_id=prompt_id: not house.queue()[1] or prompt_id in house.queue()[0])
        threading.Event().wait(0.015 + number * 0.003)
        house.post("/interrupt", {"prompt_id": prompt_id, "force": True})
        assert succeeded(house.ended(waiting))
        assert house.job(waiting)["attempts"] == 1, json.dumps(house.job(waiting))
        house.until_ready()
