"""The end of a prompt whose files are being written: when it comes, who waits for it, what it leaves to the next."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from executor.graph.behind import LEAST_BYTES, Behind, Share
from executor.worker.finishing import Finishing

PATIENCE_S = 20.0


class Rest:
    """A prompt with one open work, which waits for `gate`; it fails where there is a failure."""

    def __init__(self, threads: ThreadPoolExecutor, failure: Exception | None = None) -> None:
        self.gate, self.failure = threading.Event(), failure
        self.behind = Behind(threads)
        share = Share(room=LEAST_BYTES)
        share.take(lambda: self.work, LEAST_BYTES)
        self.kept: list[str] = []
        self.behind.begin("1", "key", share, lambda: None, lambda: self.kept.append("key"))

    def work(self) -> None:
        assert self.gate.wait(PATIENCE_S)
        if self.failure is not None:
            raise self.failure

    def end(self, told: list[str]):
        """What ends it on the thread."""

        def ended(rest: Rest) -> None:
            assert rest.gate.wait(PATIENCE_S)
            told.append(threading.current_thread().name)

        return ended


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_nothing_is_left_at_first():
    finishing = Finishing()
    finishing.settle()
    assert (bool(finishing), finishing.has("key")) == (False, False)


def test_the_end_comes_on_a_thread_while_others_go_on(threads):
    finishing, rest, told = Finishing(), Rest(threads), []
    finishing.begin(rest, rest.end(told))
    assert (told, bool(finishing), finishing.has("key"), finishing.has("other")) == ([], True, True, False)
    rest.gate.set()
    finishing.settle()
    assert (told, bool(finishing), finishing.has("key")) == (["finishing"], False, False)
    assert rest.kept == ["key"]


def test_a_failure_is_not_that_of_who_waits(threads):
    finishing, rest = Finishing(), Rest(threads, OSError("no room"))
    finishing.begin(rest, rest.end([]))
    rest.gate.set()
    finishing.settle()
    assert (bool(finishing), rest.kept) == (False, [])


@pytest.mark.parametrize("computes", [False, True])
def test_what_another_prompt_may_need_is_let_go_only_where_none_computes(computes: bool):
    finishing, done = Finishing(), []
    finishing.compute(computes=True)
    finishing.compute(computes=computes)
    finishing.unless_computing(lambda: done.append(1))
    assert bool(done) != computes
