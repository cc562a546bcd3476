"""Compares a whole recording and shows it as a table: file, cases, passed, worst error. Knows no single case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tests.parity import calls, levels, pictures, samplings, texts
from tests.parity.recording import Check, Figure, Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What comparing one case gave: figures, or the cause why there are none."""

    check: Check
    figures: tuple[Figure, ...] = ()
    failure: str = ""

    @property
    def worst(self) -> Figure | None:
        """The figure that is nearest to its bound, or furthest beyond it."""
        return max(self.figures, key=lambda figure: figure.of_bound, default=None)

    @property
    def passed(self) -> bool:
        """Whether there are figures and each holds."""
        worst = self.worst
        return not self.failure and worst is not None and worst.of_bound <= 1

    def __str__(self) -> str:
        """What is told of a case that failed."""
        told = f"{self.check.file}: {self.check.name}: "
        worst = self.worst
        if self.failure or worst is None:
            return told + (self.failure or "nothing was compared")
        return f"{told}{worst.part} is off by {worst.error:.3g}, {worst.bound:.3g} allowed"


def checks(recording: Recording) -> Iterator[Check]:
    """Every case of a recording but those of full-size files."""
    for part in (levels, samplings, calls, texts, pictures):
        yield from part.checks(recording)


def outcome(check: Check) -> Outcome:
    """Compare one case; what it raises is its failure."""
    try:
        with torch.no_grad():
            return Outcome(check=check, figures=tuple(check.measure()))
    except Exception as error:  # noqa: BLE001  (a case that cannot be compared is a failed one, whatever the cause)
        return Outcome(check=check, failure=f"{type(error).__name__}: {error}")


def lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The table, and the failed cases below it."""
    yield f"{'file':<20} {'cases':>6} {'passed':>7}  worst error (of its bound)"
    for file in dict.fromkeys(each.check.file for each in outcomes):
        here = [each for each in outcomes if each.check.file == file]
        worst = max((figure for each in here for figure in each.figures), key=lambda f: f.of_bound, default=None)
        told = f"{worst.error:.2g} ({worst.bound:.2g})" if worst else "-"
        if worst and not worst.bound and not worst.error:
            told = "exact"
        yield f"{file:<20} {len(here):>6} {sum(each.passed for each in here):>7}  {told}"
    passed = sum(each.passed for each in outcomes)
    yield f"{'all':<20} {len(outcomes):>6} {passed:>7}"
    yield from grouped([str(each) for each in outcomes if not each.passed])


def grouped(failures: Sequence[str]) -> Iterator[str]:
    """Failed cases, those of one cause together: the first is named, the others counted."""
    causes: dict[str, list[str]] = {}
    for told in failures:
        file, name, cause = told.split(": ", 2)
        causes.setdefault(f"{file}: {name.split('/')[0]}: {cause}", []).append(f"FAILED {told}")
    for told in causes.values():
        yield told[0] + (f" (and {len(told) - 1} more)" if len(told) > 1 else "")
