"""Truthful health and readiness."""

import re
from pathlib import Path

from tests.process.house import House

ROOT = Path(__file__).parents[2]


def test_ready_waits_for_a_warm_worker_and_tells_of_its_loss(make_house):
    house: House = make_house().start()
    first = house.get("/ready")
    assert (first.status_code, first.json()["checks"]["worker"]) == (503, "the worker is starting")
    assert first.headers["Retry-After"]
    assert house.get("/health").status_code == 200
    house.until_ready()
    assert set(house.get("/ready").json()["checks"].values()) == {"ok"}
    house.worker().kill()
    house.until(lambda: house.get("/ready").status_code == 503)
    assert house.get("/health").status_code == 200
    house.until_ready()


def test_ready_tells_which_folder_cannot_be_written(make_house):
    house: House = make_house().start().until_ready()
    output = house.base / "output"
    output.rename(house.base / "away")
    output.write_text("a file in the folder's place")
    house.until(lambda: house.get("/ready").status_code == 503)
    told = house.get("/ready").json()
    assert str(output) in told["checks"]["disk"]
    assert told["checks"]["worker"] == "ok"
    output.unlink()
    (house.base / "away").rename(output)
    house.until_ready()


def test_the_image_asks_whether_it_is_ready():
    command = re.search(r"HEALTHCHECK.*\n.*", (ROOT / "Dockerfile").read_text())
    assert command is not None
    assert "/ready" in command[0]
