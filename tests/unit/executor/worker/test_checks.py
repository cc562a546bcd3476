"""Packs' own checks: one after another, and past one that does not end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from executor.errors import NotReady
from executor.worker import checks as module
from executor.worker.checks import Checks

PATIENCE_S = 60.0


@pytest.fixture
async def checks() -> AsyncIterator[Checks]:
    made = Checks(lambda error: None)
    async with asyncio.timeout(PATIENCE_S):
        yield made
    made.close()


class Slow:
    """A check that blocks its thread until the test lets it go."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()

    async def __call__(self) -> str:
        self.began.set()
        assert self.may_end.wait(PATIENCE_S)
        return "slow"


def quick(log: list[str], name: str) -> Callable[[], Coroutine[None, None, str]]:
    async def check() -> str:
        log.append(name)
        return name

    return check


async def test_checks_run_one_after_another_on_one_thread(checks: Checks):
    running, threads = 0, set()

    async def check() -> int:
        nonlocal running
        running += 1
        threads.add(threading.get_ident())
        await asyncio.sleep(0)
        try:
            return running
        finally:
            running -= 1

    assert await asyncio.gather(*(checks.run(check) for _ in range(5))) == [1] * 5
    assert len(threads) == 1


async def test_behind_one_that_does_not_end_others_go_on(checks: Checks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SLOW_S", 0.01)
    slow = Slow()
    first = asyncio.create_task(checks.run(slow))
    await asyncio.to_thread(slow.began.wait, PATIENCE_S)
    log: list[str] = []
    assert [await checks.run(quick(log, name)) for name in "ab"] == ["a", "b"]
    assert not first.done()
    slow.may_end.set()
    assert await first == "slow"


async def test_one_that_nobody_waits_for_any_more_keeps_its_thread_until_it_ends(
    checks: Checks, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SLOW_S", 0.01)
    monkeypatch.setattr(module, "MOST", 1)
    slow = Slow()
    first = asyncio.create_task(checks.run(slow))
    await asyncio.to_thread(slow.began.wait, PATIENCE_S)
    first.cancel()
    with pytest.raises(NotReady, match="have not ended"):
        await checks.run(quick([], "a"))
    slow.may_end.set()
    while True:
        try:
            assert await checks.run(quick([], "a")) == "a"
            break
        except NotReady:
            await asyncio.sleep(0.01)


async def test_what_a_check_raises_is_raised(checks: Checks):
    async def check() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        await checks.run(check)


async def test_code_knows_whether_it_is_a_check(checks: Checks):
    async def check() -> bool:
        return checks.is_current()

    assert (await checks.run(check), checks.is_current()) == (True, False)
