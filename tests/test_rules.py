"""docs/rules.md: every rule of execution has tests, and they exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (TESTS.parent / "docs" / "rules.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \d+ \|", line)
]


@cache
def functions_in(stem: str) -> frozenset[str]:
    """The test functions of every file of that name."""
    return frozenset(
        item.name
        for path in TESTS.rglob(f"{stem}.py")
        for item in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize(("section", "rule", "named"), ROWS, ids=[f"{row[0]} {row[1][:60]}" for row in ROWS])
def test_the_rule_has_tests_that_exist(section: str, rule: str, named: str):
    pairs = re.findall(r"`(\w+)::(\w+)`", named)
    assert pairs, "a rule without a test"
    assert [f"{stem}::{name}" for stem, name in pairs if name not in functions_in(stem)] == []


def test_every_section_of_execution_is_there():
    assert {int(row[0]) for row in ROWS} >= set(range(1, 15))
