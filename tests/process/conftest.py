"""Whole servers for tests of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.house import House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server that the tests of a file share; they leave it running and idle."""
    made = House(tmp_path_factory.mktemp("house")).start().until_ready()
    yield made
    made.close()


@pytest.fixture
def make_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Make a house with flags, not started."""
    houses: list[House] = []

    def make(*flags: str) -> House:
        houses.append(House(tmp_path, *flags))
        return houses[-1]

    yield make
    for made in houses:
        made.close()
