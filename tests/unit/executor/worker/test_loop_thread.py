"""An event loop on a thread of its own: begins when wanted, tells an exit, ends."""

import asyncio
import sys
import threading

from executor.worker.loop_thread import LoopThread

PATIENCE_S = 60.0


def test_the_loop_runs_on_a_thread_that_begins_when_it_is_first_asked_for():
    loops = LoopThread("test-loop", lambda error: None)
    before = {thread.name for thread in threading.enumerate()}

    async def where() -> tuple[str, bool]:
        return threading.current_thread().name, loops.is_current()

    assert asyncio.run_coroutine_threadsafe(where(), loops.loop).result(PATIENCE_S) == ("test-loop", True)
    assert ("test-loop" in before, loops.is_current()) == (False, False)
    loops.close()
    assert not loops.loop.is_running()


def test_one_that_nobody_asked_for_closes():
    LoopThread("test-loop", lambda error: None).close()


def test_code_that_exits_is_told_with_its_code():
    codes: list[object] = []
    told = threading.Event()

    def note(error: SystemExit) -> None:
        codes.append(error.code)
        told.set()

    LoopThread("test-loop", note).loop.call_soon_threadsafe(sys.exit, 3)
    assert told.wait(PATIENCE_S)
    assert codes == [3]
