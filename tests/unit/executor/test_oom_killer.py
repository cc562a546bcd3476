"""Who goes first when main memory runs out."""

from pathlib import Path

import pytest

from executor.oom_killer import kills, volunteer


@pytest.mark.parametrize(("own", "asked"), [("0", "500"), ("-500\n", "0"), ("900", "1000")])
def test_a_worker_goes_before_a_front_of_its_size(tmp_path: Path, own: str, asked: str):
    score = tmp_path / "oom_score_adj"
    score.write_text(own)
    volunteer(score)
    assert score.read_text() == asked


def test_a_system_without_scores_is_left_alone(tmp_path: Path):
    volunteer(tmp_path / "none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "count"), [("pgfault 7\noom_kill 3\noom_kill_x 4\n", 3), ("pgfault 7\n", None)], ids=["told", "untold"]
)
def test_kills_are_counted_where_the_system_counts_them(tmp_path: Path, text: str, count: int | None):
    counts = tmp_path / "vmstat"
    counts.write_text(text)
    assert kills(counts) == count


def test_a_system_without_counts_tells_none(tmp_path: Path):
    assert kills(tmp_path / "none") is None
