"""The SQLite thread: transactions, versions, refusals."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from executor.errors import DatabaseUnusable
from executor.queue import database as module
from executor.queue.database import Database, migrations
from executor.queue.job import Key, make_job
from executor.queue.store import Store


@pytest.fixture
async def database(tmp_path: Path):
    opened = Database(tmp_path / "q.sqlite3")
    await opened.open()
    await opened.run(lambda connection: connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)") and None)
    yield opened
    await opened.close()


def insert(value: int):
    return lambda connection: connection.execute("INSERT INTO t VALUES (?)", (value,)) and None


def values(connection: sqlite3.Connection) -> list[int]:
    return [value for (value,) in connection.execute("SELECT x FROM t ORDER BY x")]


async def test_a_failing_piece_of_work_undoes_itself_alone(database: Database):
    async def both() -> list[object]:
        return await asyncio.gather(*(database.run(insert(value)) for value in (1, 1, 2)), return_exceptions=True)

    outcomes = await both()
    assert [type(outcome) for outcome in outcomes] == [type(None), sqlite3.IntegrityError, type(None)]
    assert await database.run(values) == [1, 2]


async def test_a_failing_piece_of_work_that_is_alone_undoes_itself(database: Database):
    def half(connection: sqlite3.Connection) -> None:
        insert(1)(connection)
        raise LookupError

    with pytest.raises(LookupError):
        await database.run(half)
    await database.run(insert(2))
    assert await database.run(values) == [2]


async def test_work_is_done_although_its_caller_is_cancelled(database: Database):
    task = asyncio.ensure_future(database.run(insert(7)))
    await asyncio.sleep(0)
    task.cancel()
    assert await database.run(values) == [7]


async def test_a_change_is_taken_in_before_anybody_who_waits_goes_on_and_though_nobody_does(database: Database):
    taken: list[object] = []
    forgotten = database.change(insert(1), lambda done: taken.append("forgotten"))
    forgotten.cancel()
    assert await database.change(values, lambda found: [*taken, found]) == ["forgotten", [1]]


async def test_a_change_that_fails_says_so_and_is_not_taken_in(database: Database):
    told: list[str] = []
    await database.run(insert(1))
    with pytest.raises(sqlite3.IntegrityError):
        await database.change(insert(1), lambda done: told.append("taken in"), lambda: told.append("refused"))
    assert told == ["refused"]


async def test_a_change_that_cannot_be_taken_in_fails_alone(database: Database, caplog: pytest.LogCaptureFixture):
    broken = database.change(insert(1), lambda done: 1 / 0)
    assert await database.change(values, lambda found: found) == [1]
    with pytest.raises(ZeroDivisionError):
        await broken
    assert "could not be taken in" in caplog.text


async def test_a_second_server_on_the_same_file_is_refused(database: Database):
    with pytest.raises(DatabaseUnusable, match="another server is using it"):
        await Database(database.path).open()


async def test_a_newer_schema_is_refused_with_words(tmp_path: Path):
    path = tmp_path / "new.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(migrations()) + 1}")
    connection.close()
    with pytest.raises(DatabaseUnusable, match="a newer Weft wrote it"):
        await Database(path).open()


async def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path: Path):
    path = tmp_path / "queue.sqlite3"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DatabaseUnusable, match=r"queue\.sqlite3"):
        await Database(path).open()


async def test_the_schema_is_numbered(database: Database):
    version = await database.run(lambda connection: connection.execute("PRAGMA user_version").fetchone())
    assert version == (len(migrations()),)


async def test_commits_are_flushed_to_the_disk(database: Database):
    pragmas = ("journal_mode", "synchronous")
    found = await database.run(lambda c: [c.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas])
    assert found == ["wal", 2]


@pytest.mark.parametrize("version", range(len(migrations()) + 1))
async def test_a_file_of_every_earlier_version_opens_with_what_it_holds(tmp_path: Path, version: int):
    path = tmp_path / "old.sqlite3"
    connection = sqlite3.connect(path)
    for step in migrations()[:version]:
        connection.executescript(step)
    if version:
        connection.executescript(
            """
            INSERT INTO queue (id, number, prompt, targets, extra, state, attempts, created_ms)
                VALUES ('waits', '1', x'7b7d', '["1"]', x'7b7d', 'pending', 0, 5),
                       ('ran', '0', x'7b7d', '[]', x'7b7d', 'running', 1, 4);
            INSERT INTO history (id, number, prompt, targets, extra, state, attempts, created_ms, ended_ms,
                                 outputs, meta, messages)
                VALUES ('ended', '2', x'7b7d', '[]', x'7b7d', 'succeeded', 1, 1, 2, x'7b7d', x'7b7d', x'5b5d');
            """
        )
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    store = Store(path)
    await store.open()
    waiting, entries = store.pending(), await store.history()
    await store.add(make_job(prompt_id="new", number=3, prompt={}, targets=[]), key=Key(text="k", digest="d"))
    await store.close()
    again = sqlite3.connect(path)
    assert again.execute("PRAGMA user_version").fetchone() == (len(migrations()),)
    again.close()
    assert [job.id for job in waiting] == (["ran", "waits"] if version else [])
    assert all(job.answer()["node_errors"] == {} for job in waiting)
    assert [entry.job.id for entry in entries] == (["ended"] if version else [])


async def test_a_migration_that_breaks_off_leaves_the_version_it_came_from(tmp_path: Path, monkeypatch):
    path = tmp_path / "old.sqlite3"
    steps = migrations()
    monkeypatch.setattr(module, "migrations", lambda: [*steps, "CREATE TABLE half (x); nonsense;"])
    with pytest.raises(DatabaseUnusable, match="nonsense"):
        await Database(path).open()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    connection.close()


async def test_what_the_disk_refused_is_told_until_it_takes_something(database: Database, monkeypatch):
    async def growing(connection_limit: int) -> None:
        await database.run(
            lambda connection: connection.execute(f"PRAGMA max_page_count = {connection_limit}") and None
        )
        await database.run(lambda connection: connection.execute("INSERT INTO t VALUES (9)") and None)
        await database.run(lambda connection: connection.execute("CREATE TABLE u (x)") and None)

    def refuse(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    assert await database.fault() is None
    with monkeypatch.context() as patch:
        patch.setattr(module, "_rewrite_version", refuse)
        with pytest.raises(sqlite3.OperationalError, match="full"):
            await growing(1)
        assert await database.fault() == "database or disk is full"
    assert await database.fault() is None


async def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module.os, "access", lambda path, mode: path != tmp_path)
    (tmp_path / "q.sqlite3").mkdir()
    with pytest.raises(DatabaseUnusable, match=f"this server's user may not write {tmp_path}$"):
        await Database(tmp_path / "q.sqlite3").open()


# ---------------------------------------------------------------- who writes


def thread_of(connection: sqlite3.Connection) -> int:
    return threading.get_ident()


async def alone(database: Database) -> int:
    """The thread on which a change is written that nothing else goes on beside."""
    return await database.change(thread_of, lambda thread: thread, alone=True)


@pytest.fixture
async def quick(database: Database, monkeypatch: pytest.MonkeyPatch):
    """A database whose disk has been quick of late."""
    monkeypatch.setattr(module, "QUICK_S", 60.0)
    for _ in range(module.LOOKED_AT):
        await database.run(values)
    return database


async def test_on_a_quick_disk_the_loop_writes_what_is_alone(quick: Database):
    assert await alone(quick) == threading.get_ident()


async def test_what_is_not_alone_is_written_on_the_thread(quick: Database):
    assert await quick.run(thread_of) != threading.get_ident()


async def test_a_disk_is_not_quick_before_it_was(database: Database):
    assert await alone(database) != threading.get_ident()


async def test_after_slow_commits_the_thread_writes(quick: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "QUICK_S", 0.001)
    await quick.run(lambda connection: time.sleep(0.02))
    assert await alone(quick) != threading.get_ident()


async def test_while_the_thread_is_at_work_it_is_given_the_next(quick: Database):
    goes_on = threading.Event()
    first = quick.start(lambda connection: goes_on.wait(5.0) and None)
    second = quick.change(thread_of, lambda thread: thread, alone=True)
    goes_on.set()
    await first
    assert await second != threading.get_ident()


async def test_what_follows_a_change_of_the_loop_is_written_after_it(quick: Database):
    quick.change(insert(1), lambda none: none, alone=True)
    seen = quick.start(values)
    quick.post(insert(2))
    assert await seen == [1]
    assert await quick.run(values) == [1, 2]


async def test_what_the_loop_was_to_write_is_there_after_the_end(quick: Database):
    quick.change(insert(1), lambda none: none, alone=True)
    await quick.close()
    await quick.open()
    assert await quick.run(values) == [1]


async def test_what_fails_on_the_loop_is_refused_there(quick: Database):
    refused: list[str] = []
    writing = quick.change(insert(1), lambda none: None, alone=True)
    again = quick.change(insert(1), lambda none: None, lambda: refused.append("again"))
    await writing
    with pytest.raises(sqlite3.IntegrityError):
        await again
    assert refused == ["again"]


async def test_the_log_has_its_length_before_the_first_commit(database: Database):
    assert Path(f"{database.path}-wal").stat().st_size > 4_000_000
    assert await database.run(lambda connection: connection.execute("PRAGMA freelist_count").fetchone()) == (0,)
