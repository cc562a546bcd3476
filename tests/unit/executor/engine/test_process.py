"""How worker processes are set up, without starting one."""

import socket
import tempfile
from pathlib import Path

import pytest

from executor.engine.process import ProcessEngine, _clear_old, _describe
from executor.settings import Settings


def environments(monkeypatch: pytest.MonkeyPatch, **settings: object) -> list[str | None]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    engine = ProcessEngine(Settings(**settings))
    return [engine._environment_of(slot).get("CUDA_VISIBLE_DEVICES") for slot in engine._slots.values()]


@pytest.mark.parametrize(
    ("settings", "devices"),
    [
        ({}, [None]),
        ({"device": "1"}, ["1"]),
        ({"workers": 2}, ["0", "1"]),
        ({"workers": 3, "device": "4,7"}, ["4", "7", "4"]),
        ({"workers": 1, "device": "2,3"}, ["2,3"]),
    ],
)
def test_each_worker_sees_its_device(monkeypatch: pytest.MonkeyPatch, settings, devices):
    assert environments(monkeypatch, **settings) == devices


def test_the_worker_finds_the_packages_wherever_the_front_was_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    engine = ProcessEngine(Settings())
    first, *rest = engine._environment_of(engine._slots["worker-0"])["PYTHONPATH"].split(":")
    assert (Path(first) / "executor" / "worker").is_dir()
    assert rest == ["/elsewhere"]


def test_a_worker_is_told_that_there_is_a_token_and_not_which():
    engine = ProcessEngine(Settings(auth_token="a-token-of-some-length"))
    assert engine._settings.auth_token == ""
    assert engine._settings.is_shared()
    assert not ProcessEngine(Settings())._settings.is_shared()


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (70, "exit code 70"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")],
)
def test_the_end_of_a_process_in_words(code: int, words: str):
    assert _describe(code) == words


def test_a_process_killed_for_want_of_memory_is_told_apart():
    assert _describe(-9, memory_ran_out=True) == "killed by the system, whose main memory ran out"
    assert _describe(-11, memory_ran_out=True) == "killed by SIGSEGV"


def test_only_folders_that_nobody_listens_in_are_removed():
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        parent = Path(name)
        alive, dead, other = (parent / f"weft-run-{word}" for word in ("alive", "dead", "other"))
        for folder in (alive, dead, other):
            folder.mkdir()
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(dead / "front.sock"))
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(alive / "front.sock"))
            listening.listen()
            _clear_old(parent)
        assert sorted(folder.name for folder in parent.iterdir()) == ["weft-run-alive", "weft-run-other"]
