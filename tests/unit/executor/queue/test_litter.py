"""Records of jobs that ended go together, after a while or at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest

from executor.leftovers import Attempt, Leftovers
from executor.queue import litter as module
from executor.queue.job import Job, make_job
from executor.queue.litter import Litter


class Noting(Leftovers):
    """Notes what it is told to forget."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.forgotten: list[Collection[int]] = []

    def forget(self, rows: Collection[int], *, closed: bool = False) -> None:
        self.forgotten.append(set(rows))
        super().forget(rows, closed=closed)


def job(row: int) -> Job:
    made = make_job(prompt_id=str(row), number=0, prompt={}, targets=["1"])
    return Job(**{name: getattr(made, name) for name in made.__slots__ if name != "row"}, row=row)


@pytest.fixture
def leftovers(tmp_path: Path) -> Noting:
    for row in (1, 2, 12):
        attempt = Attempt(tmp_path, row, 1)
        attempt.part(tmp_path / "x")
        attempt.close()
    return Noting(tmp_path)


async def test_records_go_together_and_no_others(leftovers: Noting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    litter = Litter(leftovers)
    litter.ended(job(1))
    litter.ended(job(2))
    async with asyncio.timeout(60):
        while (tmp_path / "2-1").exists():
            await asyncio.sleep(0)
    assert [path.name for path in tmp_path.iterdir()] == ["12-1"]
    assert leftovers.forgotten == [{1, 2}]


async def test_what_is_collected_goes_at_the_end(leftovers: Noting, tmp_path: Path):
    litter = Litter(leftovers)
    litter.ended(job(12))
    await litter.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-1", "2-1"]
