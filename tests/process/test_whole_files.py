"""Whole files only: a disk that takes no more gives clear errors, shows nothing partial, and needs no restart."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.process.front import graph
from tests.process.house import House, failure, succeeded

SMALL = 4096


@contextmanager
def no_room(pid: int, size: int = SMALL) -> Iterator[None]:
    """No file of a process may grow beyond a size: what a full disk is like."""
    process = psutil.Process(pid)
    before = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        process.rlimit(resource.RLIMIT_FSIZE, before)


def files(house: House, folder: str) -> list[str]:
    return [path.name for path in (house.base / folder).rglob("*") if path.is_file()]


def upload(house: House, name: str, size: int):
    return house.session.post(f"{house.url}/upload/image", files={"image": (name, b"x" * size)}, timeout=30)


def test_an_upload_that_finds_no_room_is_refused_and_leaves_nothing(house: House):
    with no_room(house.process.pid):
        refused = upload(house, "large.bin", 3_000_000)
        assert refused.status_code == 507, refused.text
        assert refused.json()["error"]["type"] == "storage"
        assert house.get("/view?filename=large.bin&type=input").status_code == 404
        assert files(house, "input") == []
    assert upload(house, "large.bin", 3_000_000).status_code == 200
    assert files(house, "input") == ["large.bin"]


def test_a_prompt_that_finds_no_room_is_refused_and_not_queued(house: House):
    with no_room(house.process.pid):
        refused = house.post("/prompt", {"prompt": graph("Say", text="x" * 200_000), "prompt_id": "lost"})
        assert refused.status_code == 507, refused.text
        assert "lost" not in house.known()
        house.until(lambda: house.get("/ready").status_code == 503)
        assert house.get("/ready").json()["checks"]["queue"] != "ok"
    house.until_ready()
    assert succeeded(house.run(text="room again"))
    assert house.entry("lost") is None


def test_a_node_that_finds_no_room_fails_with_the_file_s_name_and_leaves_nothing(house: House):
    pid = house.worker().pid
    with no_room(pid, 100_000):
        told = failure(house.run("Write", name="full", count=2, bytes=200_000))
    assert "full_00001_.bin" in told["exception_message"]
    assert not [name for name in files(house, "output") if "full" in name or "part" in name]
    assert succeeded(house.run("Write", name="full", count=2, bytes=200_000, salt="again"))
    assert house.worker().pid == pid


@pytest.mark.parametrize("route", ["/userdata/notes.json", "/settings/theme"])
def test_user_files_that_find_no_room_keep_what_was_there(house: House, route: str):
    assert house.post(route, "old").ok
    with no_room(house.process.pid):
        assert house.post(route, "new" * 5000).status_code == 507
        assert house.get(route).json() == "old"
    assert house.post(route, "new").ok
    assert house.get(route).json() == "new"
