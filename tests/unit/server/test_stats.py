"""The body of /system_stats: read anew after a while, and at once when devices change."""

from __future__ import annotations

import json

import pytest

from server import stats


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as the one item of a list."""
    now = [100.0]
    monkeypatch.setattr(stats.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The free memory that the machine tells, as the one item of a list."""
    free = [7]

    class Memory:
        total = 9

        @property
        def available(self) -> int:
            return free[0]

    monkeypatch.setattr(stats.psutil, "virtual_memory", Memory)
    return free


class Engine:
    def __init__(self) -> None:
        self.devices: tuple = ()

    def workers(self) -> tuple:
        return (self,)


class Definitions:
    devices: tuple = ()
    torch_version = "9.9"


def free_of(body: bytes) -> int:
    return json.loads(body)["system"]["ram_free"]


def test_figures_stand_for_a_while(clock, used):
    told = stats.SystemStats(Engine(), Definitions(), [])
    assert free_of(told.body()) == 7
    used[0] = 5
    assert free_of(told.body()) == 7
    clock[0] += stats.FRESH_S
    assert free_of(told.body()) == 5


def test_new_devices_are_told_at_once(clock, used, ready_message):
    engine = Engine()
    told = stats.SystemStats(engine, Definitions(), [])
    assert json.loads(told.body())["devices"][0]["vram_total"] == 9
    engine.devices = ready_message.devices
    assert json.loads(told.body())["devices"][0]["vram_total"] == 8
