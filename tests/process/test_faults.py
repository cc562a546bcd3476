"""A fault hits one job: the next one succeeds, and HTTP never stops. Twice in all, then failed with the reason."""

import time
from collections.abc import Iterator

import pytest

from tests.process.house import House, asked_all_the_time, failure, succeeded

SOON_S = 60.0  # for the next job, from the end of the one that failed


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"), "--job-timeout", "1").start().until_ready()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def http_never_stops(house: House) -> Iterator[None]:
    with asked_all_the_time(house) as statuses:
        yield
    assert statuses
    assert set(statuses) == {200}


def next_one_succeeds(house: House) -> bool:
    started_s = time.monotonic()
    good = succeeded(house.run(text=str(started_s)))
    return good and time.monotonic() - started_s < SOON_S


@pytest.mark.parametrize(
    ("class_type", "inputs", "kind"),
    [
        ("Raise", {"text": "no way"}, "ValueError"),
        ("Recurse", {}, "RecursionError"),
        ("Hoard", {"tensor": False}, "MemoryError"),
        ("Hoard", {"tensor": True}, "RuntimeError"),
    ],
)
def test_what_a_node_raises_fails_its_job_alone(house: House, class_type: str, inputs: dict, kind: str):
    pid = house.worker().pid
    assert failure(house.run(class_type, **inputs))["exception_type"] == kind
    assert next_one_succeeds(house)
    assert house.worker().pid == pid


def test_a_node_that_exits_fails_its_job_alone(house: House, tmp_path):
    assert failure(house.run("Exit", tally=str(tmp_path / "tally")))["exception_type"] == "SystemExit"
    assert next_one_succeeds(house)


def test_a_segmentation_fault_costs_an_attempt(house: House, tmp_path):
    assert succeeded(house.run("Segfault", tally=str(tmp_path / "tally")))
    assert next_one_succeeds(house)


def test_a_job_that_kills_its_worker_every_time_fails_with_the_reason_and_the_queue_goes_on(house: House, tmp_path):
    tally = tmp_path / "tally"
    prompt_id = house.submit("Crash", tally=str(tally), times=9)
    waiting = house.submit(text="behind it")
    told = failure(house.ended(prompt_id))
    assert (told["node_id"], told["node_type"]) == ("1", "Crash")
    assert "killed by SIGKILL" in told["exception_message"]
    assert tally.read_bytes() == b"xx", "twice in all"
    assert succeeded(house.ended(waiting))


def test_an_endless_loop_ends_with_its_time(house: House, tmp_path):
    told = failure(house.run("Spin", mark=str(tmp_path / "mark")))
    assert told["exception_type"] == "executor.errors.JobTimeout"
    assert "--job-timeout" in told["exception_message"]
    assert next_one_succeeds(house)


def test_a_job_that_stops_when_asked_keeps_its_worker_when_its_time_is_over(house: House):
    pid = house.worker().pid
    told = failure(house.run("Sleep", seconds=30.0))
    assert (told["exception_type"], told["node_id"]) == ("executor.errors.JobTimeout", "1")
    assert next_one_succeeds(house)
    assert house.worker().pid == pid


@pytest.mark.parametrize("kind", ["AcceleratorError", "RuntimeError"])
def test_a_lost_device_replaces_the_worker_and_costs_the_next_job_no_attempt(house: House, kind: str):
    pid = house.worker().pid
    prompt_id = house.submit("LoseDevice", kind=kind)
    waiting = house.submit(text=f"behind {kind}")
    assert "device-side assert" in failure(house.ended(prompt_id))["exception_message"]
    assert succeeded(house.ended(waiting))
    assert house.worker().pid != pid
    assert house.job(waiting)["attempts"] == 1
