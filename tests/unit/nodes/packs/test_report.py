"""What is told of packs: who asks, what was missed, the table of import times."""

from pathlib import Path

import pytest

from nodes.packs.discover import Pack
from nodes.packs.report import PackReport, Reports, advice, inside_pack, missed, table


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    (tmp_path / "one").mkdir()
    (tmp_path / "two.py").touch()
    return Reports([Pack(name="one", path=tmp_path / "one"), Pack(name="two", path=tmp_path / "two.py")])


def owner(reports: Reports, path: Path) -> str | None:
    row = reports.owner(str(path))
    return row.pack.name if row else None


def test_file_inside_a_pack_is_its_own(reports: Reports, tmp_path: Path):
    assert owner(reports, tmp_path / "one" / "deep" / "er.py") == "one"


def test_single_file_is_its_own(reports: Reports, tmp_path: Path):
    assert owner(reports, tmp_path / "two.py") == "two"


def test_file_elsewhere_is_nobodys(reports: Reports, tmp_path: Path):
    assert owner(reports, tmp_path / "three.py") is None


def test_caller_is_found_by_its_file(reports: Reports, tmp_path: Path):
    place = str(tmp_path / "one" / "code.py")
    names: dict[str, object] = {"reports": reports}
    exec(compile("row = reports.asking()", place, "exec"), names)
    assert names["row"].pack.name == "one"


def test_caller_elsewhere_is_the_pack_that_is_imported(reports: Reports):
    reports.loading = reports.rows[1]
    assert reports.asking() is reports.rows[1]


def test_nobody_asks_between_imports(reports: Reports):
    assert reports.asking() is None


def test_name_is_missed_once(tmp_path: Path):
    row = PackReport(pack=Pack(name="one", path=tmp_path))
    assert [row.miss("comfy.x"), row.miss("comfy.x"), row.missing] == [True, False, ["comfy.x"]]


def test_missing_module_is_named():
    assert missed(ModuleNotFoundError("No module named 'cv2'", name="cv2")) == "cv2"


def test_missing_name_is_named_with_its_module():
    failure = ImportError("cannot import name 'a' from 'b.c' (unknown location)", name="b.c")
    assert missed(failure) == "b.c.a"


def test_other_failures_miss_nothing():
    assert missed(ValueError("no")) == ""


def test_requirements_are_advised_when_there_are_any(tmp_path: Path):
    failure = ModuleNotFoundError("No module named 'cv2'", name="cv2")
    before = advice(failure, tmp_path)
    (tmp_path / "requirements.txt").touch()
    assert before == ""
    assert str(tmp_path / "requirements.txt") in advice(failure, tmp_path)


def test_table_has_the_slowest_pack_last(tmp_path: Path):
    slow = PackReport(pack=Pack(name="slow", path=tmp_path / "slow"), state="failed", seconds=2.0)
    quick = PackReport(pack=Pack(name="quick", path=tmp_path / "quick"), state="loaded", seconds=0.1, nodes=["a"])
    off = PackReport(pack=Pack(name="off", path=tmp_path / "off"))
    assert [line.split()[2:4] for line in table([slow, off, quick]).splitlines()[1:]] == [
        ["1", "nodes"],
        ["failed", str(tmp_path / "slow")],
    ]


def fail_at(place: Path) -> BaseException:
    try:
        exec(compile("1 / 0", str(place), "exec"))
    except ZeroDivisionError as failure:
        return failure
    raise AssertionError


def test_traceback_begins_in_the_pack(tmp_path: Path):
    trace = inside_pack(fail_at(tmp_path / "one" / "code.py"), tmp_path / "one")
    assert trace.tb_frame.f_code.co_filename == str(tmp_path / "one" / "code.py")


def test_traceback_of_code_elsewhere_is_whole(tmp_path: Path):
    failure = fail_at(tmp_path / "one" / "code.py")
    assert inside_pack(failure, tmp_path / "two") is failure.__traceback__
