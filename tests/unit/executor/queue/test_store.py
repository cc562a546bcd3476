"""The queue over its life, also across restarts, and against a model made of plain dicts."""

import asyncio
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from executor.errors import DatabaseUnusable
from executor.queue import store as module
from executor.queue.begun import Begun
from executor.queue.job import Job, Result, make_job
from executor.queue.store import Store

DONE = Result(state="succeeded")


def job(prompt_id: str, number: float = 0, **extra: object) -> Job:
    return make_job(prompt_id=prompt_id, number=number, prompt={}, targets=["1"], extra_data=extra)


@pytest.fixture
async def store():
    opened = Store()
    await opened.open()
    yield opened
    await opened.close()


async def ids(store: Store, max_items: int | None = None, offset: int = -1) -> list[str]:
    return [entry.job.id for entry in await store.history(max_items, offset)]


async def run_one(store: Store, prompt_id: str, result: Result = DONE) -> None:
    await store.add(job(prompt_id))
    claimed = store.claim("w")
    assert claimed is not None
    assert await store.finish(claimed, result)


async def test_jobs_run_by_number_then_arrival(store: Store):
    for prompt_id, number in (("b", 1), ("a", 1), ("front", -2), ("late", 5.5)):
        await store.add(job(prompt_id, number))
    assert [waiting.id for waiting in store.pending()] == ["front", "b", "a", "late"]


async def test_a_claimed_job_runs_and_counts_its_attempt(store: Store):
    await store.add(job("a"))
    claimed = store.claim("w")
    assert claimed is not None
    assert (claimed.state, claimed.attempts, claimed.worker) == ("running", 1, "w")
    assert [running.id for running in store.running()] == ["a"]


async def test_nothing_to_claim_is_none(store: Store):
    assert store.claim("w") is None


async def test_remaining_counts_waiting_and_running(store: Store):
    await store.add(job("a"))
    await store.add(job("b"))
    store.claim("w")
    assert store.remaining() == 2


async def test_two_claims_take_two_jobs(store: Store):
    await store.add(job("a"))
    await store.add(job("b"))
    claimed = [store.claim("w0"), store.claim("w1")]
    assert {taken.id for taken in claimed if taken} == {"a", "b"}


async def test_two_claims_do_not_share_the_last_job(store: Store):
    await store.add(job("a"))
    claimed = [store.claim("w0"), store.claim("w1")]
    assert sum(taken is not None for taken in claimed) == 1


async def test_an_attempt_ends_once(store: Store):
    await store.add(job("a"))
    claimed = store.claim("w")
    assert claimed is not None
    assert await asyncio.gather(store.finish(claimed, DONE), store.finish(claimed, DONE)) == [True, False]


async def test_an_old_attempt_cannot_end_the_new_one(store: Store):
    await store.add(job("a"))
    first = store.claim("w")
    assert first is not None
    await store.requeue(first)
    store.claim("w")
    assert not await store.finish(first, DONE)


async def test_a_put_back_job_is_first_and_keeps_its_count(store: Store):
    await store.add(job("a", 5))
    claimed = store.claim("w")
    assert claimed is not None
    await store.add(job("b", -5))
    await store.requeue(claimed)
    assert [(waiting.id, waiting.attempts) for waiting in store.pending()] == [("a", 1), ("b", 0)]


async def test_an_uncounted_put_back_takes_the_attempt_back(store: Store):
    await store.add(job("a"))
    claimed = store.claim("w")
    assert claimed is not None
    await store.requeue(claimed, counted=False)
    assert store.pending()[0].attempts == 0


async def test_delete_removes_the_first_match_of_each_id_and_no_running_one(store: Store):
    for prompt_id in ("run", "a", "a", "b"):
        await store.add(job(prompt_id))
    store.claim("w")
    removed = await store.delete(["a", "run", "nobody"])
    assert [gone.id for gone in removed] == ["a"]
    assert [waiting.id for waiting in store.pending()] == ["a", "b"]


async def test_clear_leaves_what_runs(store: Store):
    for prompt_id in ("run", "a"):
        await store.add(job(prompt_id))
    store.claim("w")
    await store.clear()
    assert store.remaining() == 1


async def test_a_row_stays_when_the_caller_of_add_is_cancelled(store: Store):
    task = asyncio.ensure_future(store.add(job("a")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.add(job("b"))
    assert [waiting.id for waiting in store.pending()] == ["a", "b"]


async def test_many_adds_at_once_are_all_kept(store: Store):
    await asyncio.gather(*(store.add(job(str(number), number)) for number in range(300)))
    assert [waiting.id for waiting in store.pending()] == [str(number) for number in range(300)]


# ---------------------------------------------------------------- history


async def test_an_entry_holds_what_was_given(store: Store):
    given = Result(state="failed", outputs_json=b'{"1": NaN}', meta_json=b'{"m": 1}', messages_json=b'[["x", {}]]')
    await run_one(store, "a", given)
    entry = await store.history_of("a")
    assert entry is not None
    assert entry.result == given


async def test_an_unknown_id_has_no_entry(store: Store):
    assert await store.history_of("nobody") is None


async def test_an_id_that_is_no_text_has_no_entry(store: Store):
    assert await store.history_of("\ud800") is None


@pytest.mark.parametrize(
    ("max_items", "offset", "expected"),
    [
        (None, -1, "abcd"),
        (2, -1, "cd"),
        (9, -1, "abcd"),
        (2, 0, "ab"),
        (2, 1, "bc"),
        (None, 3, "d"),
        (5, 9, ""),
        (0, -1, ""),
        (10**30, 10**30, ""),
    ],
)
async def test_windows_of_the_history(store: Store, max_items: int | None, offset: int, expected: str):
    for prompt_id in "abcd":
        await run_one(store, prompt_id)
    assert await ids(store, max_items, offset) == list(expected)


async def test_an_id_used_again_keeps_its_place_and_shows_the_new_result(store: Store):
    await run_one(store, "a")
    await run_one(store, "b")
    await run_one(store, "a", Result(state="failed"))
    entry = await store.history_of("a")
    assert entry is not None
    assert entry.result.state == "failed"
    assert await ids(store) == ["a", "b"]


async def test_deleting_and_clearing_history(store: Store):
    for prompt_id in "abc":
        await run_one(store, prompt_id)
    await store.delete_history(["a", "nobody", "\ud800"])
    assert await ids(store) == ["b", "c"]
    await store.clear_history()
    assert await ids(store) == []


async def test_the_oldest_entries_go_beyond_the_limit():
    store = Store(history_limit=2)
    await store.open()
    for prompt_id in "abc":
        await run_one(store, prompt_id)
    assert await ids(store) == ["b", "c"]
    await store.close()


# ---------------------------------------------------------------- restarts


async def reopened(store: Store, path: Path) -> Store:
    await store.close()
    again = Store(path)
    await again.open()
    return again


async def test_what_waits_is_there_after_a_restart(tmp_path: Path):
    store = Store(tmp_path / "q")
    await store.open()
    added = [await store.add(job("b", 2, client_id="me")), await store.add(job("a", 1.5))]
    store = await reopened(store, tmp_path / "q")
    assert store.pending() == [added[1], added[0]]
    await store.close()


async def test_no_row_is_given_twice_though_its_job_is_gone_at_a_restart(tmp_path: Path):
    store = Store(tmp_path / "q")
    await store.open()
    rows = [(await store.add(job(name))).row for name in ("a", "b")]
    await store.delete(["b"])
    store = await reopened(store, tmp_path / "q")
    assert (rows, (await store.add(job("c"))).row) == ([1, 2], 3)
    await store.close()


async def test_what_ran_is_put_back_after_a_restart(tmp_path: Path):
    store = Store(tmp_path / "q")
    await store.open()
    await store.add(job("a", 7))
    store.claim("w")
    await store.add(job("b", 1))
    store = await reopened(store, tmp_path / "q")
    assert [(waiting.id, waiting.attempts) for waiting in store.pending()] == [("a", 1), ("b", 0)]
    await store.close()


async def test_what_ran_twice_has_failed_after_a_restart(tmp_path: Path):
    store = Store(tmp_path / "q")
    await store.open()
    await store.add(job("a"))
    for _ in range(2):
        store.claim("w")
        store = await reopened(store, tmp_path / "q")
    entry = await store.history_of("a")
    assert entry is not None
    assert (entry.result.state, store.remaining()) == ("failed", 0)
    assert b"2 times" in entry.result.messages_json
    await store.close()


async def test_secrets_never_reach_the_disk(tmp_path: Path):
    store = Store(tmp_path / "q")
    await store.open()
    await store.add(job("a", api_key_comfy_org="SECRET-KEY", auth_token_comfy_org="SECRET-TOKEN"))
    claimed = store.claim("w")
    assert claimed is not None
    assert b"SECRET-KEY" in claimed.secrets_json
    await store.finish(claimed, DONE)
    assert all(b"SECRET" not in path.read_bytes() for path in tmp_path.iterdir())
    await store.close()


async def test_a_claim_waits_for_no_disk(store: Store, monkeypatch: pytest.MonkeyPatch):
    await store.add(job("a"))

    async def full(work: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store._database, "run", full)
    claimed = store.claim("w")
    assert claimed is not None
    assert (store.pending(), store.running()) == ([], [claimed])


async def test_a_quick_job_s_row_is_not_written_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "CLAIM_S", 0.0)
    store = Store(tmp_path / "q")
    await store.open()
    posted: list[object] = []
    monkeypatch.setattr(store._database, "post", posted.append)
    await run_one(store, "quick")
    await asyncio.sleep(0.01)
    assert posted == []
    await store.add(job("slow"))
    store.claim("w")
    await asyncio.sleep(0.01)
    assert len(posted) == 1
    await store.close()


def killed(folder: Path) -> Path:
    """The files of a store as the death of its process would leave them, in a folder of their own."""
    return Path(shutil.copytree(folder, tempfile.mkdtemp(dir=folder.parent), dirs_exist_ok=True))


async def test_an_attempt_that_had_just_begun_counts_when_the_server_is_killed(tmp_path: Path):
    store = Store(tmp_path / "live" / "q")
    await store.open()
    for prompt_id in "abc":
        await store.add(job(prompt_id))
    store.claim("w")
    taken = store.claim("w")
    assert taken is not None
    await store.requeue(taken, counted=False)
    left = Store(killed(tmp_path / "live") / "q")
    await store.close()
    await left.open()
    assert {waiting.id: waiting.attempts for waiting in left.pending()} == {"a": 1, "b": 0, "c": 0}
    await left.close()


async def test_notes_of_what_begins_grow_and_are_used_again(tmp_path: Path):
    notes = Begun(tmp_path / "begun")
    assert notes.open() == set()
    notes.clear()
    for row in range(1, 101):
        notes.note(row, 1)
    for row in range(1, 101):
        if row != 70:
            notes.forget(row)
    notes.note(500, 2)
    assert Begun(tmp_path / "begun").open() == {(70, 1), (500, 2)}
    notes.close()


async def test_a_queue_that_cannot_be_read_is_told_with_its_file(tmp_path: Path):
    path = tmp_path / "q.sqlite3"
    first = Store(path)
    await first.open()
    await first.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE queue")
    connection.close()
    with pytest.raises(DatabaseUnusable, match=r"q\.sqlite3 cannot be used: no such table"):
        await Store(path).open()


# ---------------------------------------------------------------- against a model


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of calls and restarts leaves the store as a list and a dict would be."""

    claimed = Bundle("claimed")

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "first" / "q"
        self.store = Store(self.path, history_limit=5)
        self.do(self.store.open())
        self.waiting: list[Job] = []
        self.running: dict[int, Job] = {}
        self.ended: dict[str, str] = {}

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.do(self.store.close())
            self.loop.close()
            self.folder.cleanup()

    def sort(self) -> None:
        self.waiting.sort(key=lambda made: (not made.at_head, made.number, made.row))

    def end(self, made: Job, state: str) -> None:
        self.ended[made.id] = state
        while len(self.ended) > 5:
            del self.ended[next(iter(self.ended))]

    @rule(prompt_id=st.sampled_from("abcdefgh"), number=st.integers(-2, 2))
    def add(self, prompt_id: str, number: int) -> None:
        self.waiting.append(self.do(self.store.add(job(prompt_id, number))))
        self.sort()

    async def claimed_next(self) -> Job | None:
        return self.store.claim("w")

    @rule(target=claimed)
    def claim(self) -> Job | None:
        taken = self.do(self.claimed_next())
        assert (taken and taken.row) == (self.waiting[0].row if self.waiting else None)
        if taken is not None:
            self.waiting.pop(0)
            self.running[taken.row] = taken
        return taken

    @rule(made=claimed, state=st.sampled_from(["succeeded", "failed", "interrupted"]))
    def finish(self, made: Job | None, state: str) -> None:
        if made is None:
            return
        known = self.running.get(made.row) == made

        async def finish() -> bool:
            return await self.store.finish(made, Result(state=state))

        assert self.do(finish()) == known
        if known:
            del self.running[made.row]
            self.end(made, state)

    @rule(made=claimed, counted=st.booleans())
    def requeue(self, made: Job | None, counted: bool) -> None:
        if made is None:
            return
        known = self.running.get(made.row) == made
        assert self.do(self.store.requeue(made, counted=counted)) == known
        if known:
            del self.running[made.row]
            self.waiting.append(next(waiting for waiting in self.store.pending() if waiting.row == made.row))
            self.sort()

    @rule(prompt_id=st.sampled_from("abcdefgh"))
    def delete(self, prompt_id: str) -> None:
        removed = self.do(self.store.delete([prompt_id]))
        first = next((made for made in self.waiting if made.id == prompt_id), None)
        assert removed == ([first] if first else [])
        self.waiting = [made for made in self.waiting if made is not first]

    @rule(dies=st.booleans())
    def restart(self, dies: bool) -> None:
        left = killed(self.path.parent) if dies else self.path.parent
        self.do(self.store.close())
        self.path = left / "q"
        self.store = Store(self.path, history_limit=5)
        self.do(self.store.open())
        for made in sorted(self.running.values(), key=lambda made: made.row):
            if made.attempts >= 2:
                self.end(made, "failed")
        back = {made.row: made.attempts for made in self.running.values() if made.attempts < 2}
        waiting = {made.row: made.attempts for made in self.waiting}
        assert {made.row: made.attempts for made in self.store.pending()} == waiting | back
        self.running = {}
        self.waiting = self.store.pending()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.pending() == self.waiting
        assert {made.row for made in self.store.running()} == set(self.running)
        entries = self.do(self.store.history())
        assert {entry.job.id: entry.result.state for entry in entries} == self.ended


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
