"""Truthful health and readiness."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from executor.engine.inprocess import InProcessEngine
from executor.settings import Settings
from server.doctor import Finding, examine
from tests.process.house import LOADER, House

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


async def diagnosed(base: Path, port: int) -> dict[str, Finding]:
    """What the doctor finds of a folder and a port."""
    settings = Settings(base_directory=base, port=port, vram_mode="cpu")
    return {finding.topic: finding for finding in await examine(settings, InProcessEngine(settings, loader=LOADER))}


async def test_the_doctor_beside_the_very_server_finds_nothing_bad(make_house, tmp_path_factory):
    house: House = make_house().start().until_ready()
    port = urlsplit(house.url).port
    found = await diagnosed(house.base, port)
    assert [finding for finding in found.values() if finding.state == "bad"] == []
    assert (found["address"].state, "runs already" in found["address"].seen) == ("odd", True)
    assert house.url in found["queue"].seen
    other = await diagnosed(tmp_path_factory.mktemp("other"), port)
    assert (other["address"].state, "other folders" in other["address"].advice) == ("bad", True)


def test_the_image_asks_whether_it_is_ready():
    command = re.search(r"HEALTHCHECK.*\n.*", (ROOT / "Dockerfile").read_text())
    assert command is not None
    assert "/ready" in command[0]
