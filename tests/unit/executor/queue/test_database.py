"""The SQLite thread: transactions, versions, refusals."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from executor.errors import DatabaseUnusable
from executor.queue.database import Database, migrations


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


async def test_work_is_done_although_its_caller_is_cancelled(database: Database):
    task = asyncio.ensure_future(database.run(insert(7)))
    await asyncio.sleep(0)
    task.cancel()
    assert await database.run(values) == [7]


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
