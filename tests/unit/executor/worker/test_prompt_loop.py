"""One loop for prompt after prompt: kept while clean, replaced when something was left on it."""

import asyncio

import pytest

from executor.worker.prompt_loop import PromptLoop


@pytest.fixture
def prompts():
    loop = PromptLoop()
    yield loop
    loop.close()


async def its_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_a_clean_prompt_leaves_its_loop_to_the_next(prompts: PromptLoop):
    assert prompts.run(its_loop()) is prompts.run(its_loop())


def test_a_task_that_a_prompt_leaves_is_cancelled_before_the_next(prompts: PromptLoop):
    seen: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def leaving() -> asyncio.Task[None]:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        return task

    assert prompts.run(leaving()).cancelled()
    assert seen == ["cancelled"]


def test_threads_that_a_prompt_started_are_over_before_the_next(prompts: PromptLoop):
    seen: list[str] = []

    async def leaving() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, seen.append, "over")
        return loop

    assert prompts.run(leaving()) is not prompts.run(its_loop())
    assert seen == ["over"]


def test_a_generator_that_a_prompt_leaves_is_closed(prompts: PromptLoop):
    seen: list[str] = []

    async def numbers():
        try:
            yield 1
        finally:
            seen.append("closed")

    async def leaving() -> object:
        generator = numbers()
        await anext(generator)
        return generator  # alive until after the sweep

    assert prompts.run(leaving()) is not None
    assert seen == ["closed"]


def test_a_prompt_that_closes_the_loop_harms_none_after_it(prompts: PromptLoop):
    first = prompts.run(its_loop())
    first.close()
    assert prompts.run(its_loop()) is not first


def test_what_a_prompt_raises_comes_through(prompts: PromptLoop):
    async def failing() -> None:
        raise KeyError("odd")

    with pytest.raises(KeyError, match="odd"):
        prompts.run(failing())
