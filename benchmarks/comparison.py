"""What changed since the recorded tables: targets that are missed now, ratios that are worse than they ever were."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.figures import Figure
from benchmarks.record import KEPT_RATIOS, RECORD, Groups, ratios_of

MARGIN = 1.25
"""How many times a ratio may be as bad (of rates: as small) as the worst recorded one, or as the middle one."""

Kind = Literal["missed", "worse", "still missed", "moved"]
FAILING: frozenset[Kind] = frozenset({"missed", "worse"})
"""What makes a run fail: a target that the record does not say was missed before, and a ratio worse than all."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure that is not as recorded, in words."""

    kind: Kind
    text: str


def changes(found: Groups, recorded: Mapping[str, Any], margin: float = MARGIN) -> list[Change]:
    """What is to be said of each figure that is not as recorded, or misses its target."""
    rows = [row for group in recorded.get("groups", {}).values() for row in group["figures"]]
    before = {(row["name"], row["floor_name"]): row for row in rows}
    told = [
        _change(figure, before.get((figure.name, figure.floor_name)), margin)
        for group in found.values()
        for figure in group
    ]
    return [change for change in told if change is not None]


def report(told: Sequence[Change], path: Path = RECORD, here: str = "") -> str:
    """Changes in words, what makes a run fail first; `here` is the processor of this run, named beside others."""
    if not path.exists():
        return "\n".join([f"no table was recorded in {path} to compare with", *_lines(told)])
    words = f"beside {path.name}: the last {KEPT_RATIOS} recorded ratios of each figure, margin {MARGIN:g}x"
    return "\n".join([f"{words}: {'' if told else 'nothing changed'}".rstrip(), *_elsewhere(path, here), *_lines(told)])


def compared(found: Groups, path: Path = RECORD) -> list[Change]:
    """What changed since the record that a file holds; without one every missed target counts."""
    return changes(found, json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})


def _elsewhere(path: Path, here: str) -> list[str]:
    """A line where groups were recorded last on another processor: some ratios are its own, as that of bfloat16."""
    groups = json.loads(path.read_text(encoding="utf-8")).get("groups", {})
    others = {group.get("machine", {}).get("processor", here): None for group in groups.values()}
    others.pop(here, None)
    if not here or not others:
        return []
    return [f"  recorded on {', '.join(others)}, measured on {here}: ratios may differ for that"]


def _lines(told: Iterable[Change]) -> list[str]:
    kinds: tuple[Kind, ...] = ("missed", "worse", "still missed", "moved")
    return [f"  {kind}: {change.text}" for kind in kinds for change in told if change.kind == kind]


def _change(figure: Figure, row: Mapping[str, Any] | None, margin: float) -> Change | None:
    if figure.absent:
        return None
    was_measured = row is not None and not row.get("absent")
    then = ratios_of(row) if row is not None else []
    moved = _beside(figure, figure.ratio, then, margin) if figure.ratio is not None and then else None
    if figure.holds():
        return moved
    now, was = _value(figure.row()), f", {_value(row)} in the record" if row is not None and was_measured else ""
    text = f"{figure.name}: {now}{was}, target {figure.target()}"
    if row is None or not was_measured or row["holds"]:
        return Change("missed", text)
    return moved if moved is not None and moved.kind == "worse" else Change("still missed", text)


def _beside(figure: Figure, ratio: float, then: Sequence[float], margin: float) -> Change | None:
    def grown(since: float) -> float:
        return since / ratio if figure.more_is_better else ratio / since

    worst, best = sorted(then, key=grown)[0], sorted(then, key=grown)[-1]
    now = f"{ratio:.2f}x now"
    if grown(worst) > margin:
        return Change("worse", f"{figure.name}: {worst:.2f}x at worst then, {now}{_room(figure)}")
    if grown(worst) > 1 and grown(statistics.median(then)) > margin:
        return Change("moved", f"{figure.name}: {best:.2f}x to {worst:.2f}x then, {now}{_room(figure)}")
    return None


def _value(row: Mapping[str, Any]) -> str:
    ratio = "" if row["ratio"] is None else f" ({row['ratio']:.2f}x)"
    return f"{row['value']:.3f} {row['unit']}{ratio}"


def _room(figure: Figure) -> str:
    return f", target {figure.target()}" if figure.target() else ""
