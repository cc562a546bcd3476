"""What a benchmark finds: a figure, the floor under it, and what is allowed. Knows no server."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value (of times and sizes less is better, of rates more), and what it is compared with.

    `floor` is what the machine takes without us. `most_ratio` and `most_above` (in the figure's unit) are the targets
    above it, `least` and `most` targets by themselves; None: no such target. `absent` says why there is no value: it
    could not be measured here.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    floor_name: str = ""
    most_ratio: float | None = None
    least_ratio: float | None = None
    most_above: float | None = None
    least: float | None = None
    most: float | None = None
    absent: str = ""

    @property
    def ratio(self) -> float | None:
        """The value over its floor."""
        return None if not self.floor else self.value / self.floor

    @property
    def more_is_better(self) -> bool:
        """Whether it is a rate."""
        return self.least_ratio is not None or self.least is not None

    def holds(self, margin: float = 1.0) -> bool:
        """Whether every target is met, each widened by the factor `margin`."""
        ratio, floor = self.ratio, self.floor
        return all(
            (
                self.most_ratio is None or (ratio is not None and ratio <= self.most_ratio * margin),
                self.least_ratio is None or (ratio is not None and ratio >= self.least_ratio / margin),
                self.most_above is None or (floor is not None and self.value - floor <= self.most_above * margin),
                self.least is None or self.value >= self.least / margin,
                self.most is None or self.value <= self.most * margin,
            )
        )

    def target(self) -> str:
        """The targets in words; empty without any."""
        words = [
            f"<= {self.most_ratio:.3g}x" if self.most_ratio is not None else "",
            f">= {self.least_ratio:.3g}x" if self.least_ratio is not None else "",
            f"<= floor + {self.most_above:g}" if self.most_above is not None else "",
            f">= {self.least:g}" if self.least is not None else "",
            f"<= {self.most:g}" if self.most is not None else "",
        ]
        return ", ".join(filter(None, words))

    def row(self) -> dict[str, object]:
        """The figure as JSON data."""
        return {**asdict(self), "ratio": self.ratio, "target": self.target(), "holds": self.holds()}


def table(figures: Iterable[Figure]) -> str:
    """Figures for people, a line each."""
    rows = list(figures)
    width = max((len(figure.name) for figure in rows), default=0)
    lines = [f"{'figure':{width}} {'value':>9} {'':6} {'floor':>9} {'ratio':>7}  {'target':18} what the floor is"]
    for figure in rows:
        if figure.absent:
            lines.append(f"{figure.name:{width}} not measured: {figure.absent}")
            continue
        floor = "" if figure.floor is None else f"{figure.floor:9.3f}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:6.2f}x"
        target = figure.target() + ("" if figure.holds() else " MISSED")
        row = f"{figure.name:{width}} {figure.value:9.3f} {figure.unit:6} {floor:>9} {ratio:>7}  {target:18}"
        lines.append(f"{row} {figure.floor_name}".rstrip())
    return "\n".join(lines)


def absent(names: Iterable[str], why: str) -> list[Figure]:
    """Figures that could not be measured, and why."""
    return [Figure(name=name, value=0.0, unit="", absent=why) for name in names]


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)
