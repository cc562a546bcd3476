"""The recorded cases, played against a real server on an empty folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.contract.replay import Case, load_cases, play_case

HERE = Path(__file__).parent
PATIENCE_S = 300.0

NOT_YET: dict[str, str] = {}
"""Cases that need what is still to be built, and what that is."""


def cases() -> Iterator[pytest.param]:
    for case in load_cases(HERE / "cases", "", []):
        reason = NOT_YET.get(case.name)
        yield pytest.param(case, id=case.name, marks=[pytest.mark.xfail(reason=reason)] if reason else [])


async def play(case: Case, url: str) -> list[str]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        return await play_case(case, session, url, verbose=False, patience=PATIENCE_S)


@pytest.mark.parametrize("case", list(cases()))
def test_case(case: Case, url: str) -> None:
    failure = asyncio.run(play(case, url))
    assert not failure, f"{case.about}\n" + "\n".join(failure)


def test_every_case_that_waits_exists() -> None:
    assert set(NOT_YET) <= {case.name for case in load_cases(HERE / "cases", "", [])}
