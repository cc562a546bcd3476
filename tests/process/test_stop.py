"""Orderly stop: no new prompts, the running one may finish in time or goes back, exit status 0."""

import signal

from tests.process.front import graph
from tests.process.house import House, succeeded


def test_a_running_job_may_finish_while_new_ones_are_refused(make_house, tmp_path):
    house: House = make_house("--drain-timeout", "30").start().until_ready()
    prompt_id = house.submit("Steps", steps=2, seconds=0.01, go=str(tmp_path / "go"))
    waiting = house.submit(text="waits")
    house.until(lambda: house.is_running(prompt_id))
    house.process.send_signal(signal.SIGTERM)
    house.until(lambda: house.get("/ready").status_code == 503)
    refused = house.post("/prompt", {"prompt": graph("Say", text="late")})
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert house.queue() == ([prompt_id], [waiting])
    (tmp_path / "go").touch()
    assert house.wait() == 0
    house.start()
    assert succeeded(house.ended(prompt_id))
    assert house.job(prompt_id)["attempts"] == 1
    assert succeeded(house.ended(waiting))
