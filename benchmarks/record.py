"""The last recorded table: written on request, and compared with in ratios only, since machines differ."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Figure, table

RECORD = Path(__file__).parent / "recorded.json"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MARGIN = 1.25
"""How many times a ratio may have grown (of rates: shrunk) before it counts as worse."""

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "aiohttp", "numpy")
Groups = Mapping[str, Sequence[Figure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The figures of a group, and how long it took to measure them."""

    figures: Sequence[Figure]
    seconds: float


def machine() -> dict[str, Any]:
    """Where, when and with what it is measured."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version_of(name) for name in PACKAGES},
    }


def processor() -> str:
    """The processor's name."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def version_of(package: str) -> str | None:
    """The installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def rows_of(found: Groups) -> dict[str, list[dict[str, object]]]:
    """Figures as JSON data, group by group."""
    return {name: [figure.row() for figure in group] for name, group in found.items()}


def regressions(found: Groups, recorded: Mapping[str, Any], margin: float = MARGIN) -> list[str]:
    """What got worse than the record by more than the margin, a line each."""
    rows = [row for group in recorded.get("groups", {}).values() for row in group["figures"]]
    before = {(row["name"], row["floor_name"]): row for row in rows}
    worse = []
    for figure in (figure for group in found.values() for figure in group):
        was = before.get((figure.name, figure.floor_name), {}).get("ratio")
        if figure.ratio is None or not was:
            continue
        grown = was / figure.ratio if figure.more_is_better else figure.ratio / was
        if grown > margin:
            worse.append(f"{figure.name}: {was:.2f}x then, {figure.ratio:.2f}x now")
    return worse


def report(found: Groups, path: Path = RECORD) -> str:
    """What got worse since the record, in words."""
    if not path.exists():
        return f"no table was recorded in {path} to compare with"
    recorded = json.loads(path.read_text(encoding="utf-8"))
    worse = regressions(found, recorded)
    words = f"beside the table in {path.name}, ratios with a margin of {MARGIN:g}x"
    if not worse:
        return f"{words}: nothing got worse"
    return "\n".join([f"{words}: {len(worse)} got worse", *(f"  {line}" for line in worse)])


def seconds_of(path: Path = RECORD) -> dict[str, float]:
    """How long each recorded group took."""
    return {name: group["seconds"] for name, group in groups_of(path).items() if "seconds" in group}


def groups_of(path: Path) -> dict[str, Any]:
    """The groups of the record, none before there is one."""
    groups: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["groups"] if path.exists() else {}
    return groups


def record(
    found: Mapping[str, Measured],
    taken: Mapping[str, Any],
    names: Collection[str] = (),
    path: Path = RECORD,
    page: Path = PAGE,
) -> None:
    """Put these groups into the record, in the place of what it has of them, and write its page anew.

    What could not be measured takes no measured group's place: it may have come from a machine that has more. `names`
    are those of all groups there are: the page tells which were never recorded.
    """
    groups = groups_of(path)
    for name, group in found.items():
        rows = [figure.row() for figure in group.figures]
        if all(row["absent"] for row in rows) and is_measured(groups.get(name, {})):
            continue
        groups[name] = {"machine": taken, "seconds": round(group.seconds, 1), "figures": rows}
    ordered = [*(name for name in names if name in groups), *(name for name in groups if name not in names)]
    groups = {name: groups[name] for name in ordered}
    path.write_text(json.dumps({"groups": groups}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page.write_text(page_of(groups, [name for name in names if name not in groups]), encoding="utf-8")


def page_of(groups: Mapping[str, Any], unknown: Sequence[str] = ()) -> str:
    """The record for people."""
    parts = [
        "# Measured\n",
        "Written by `python -m benchmarks --record`; `--only GROUP` measures and records some groups anew. What each "
        "figure and its floor are stands in [benchmarks/README.md](../benchmarks/README.md). Figures are those of the "
        "machine and the moment; ratios say something elsewhere too. The load is the machine's at the start, other "
        "people's work included: 0 would be a quiet machine.\n",
    ]
    for name, group in groups.items():
        if is_measured(group):
            parts.append(f"## {name}\n\n{described(group['machine'])}\n\n```\n{table(figures_of(group))}\n```\n")
    missing = {name: figures_of(group) for name, group in groups.items() if not is_measured(group)}
    if missing or unknown:
        parts.append("## Not measured\n")
    parts += [f"`{name}`: {reasons(figures)}.\n" for name, figures in missing.items()]
    if unknown:
        names = ", ".join(f"`{name}`" for name in unknown)
        parts.append(f"{names}: not recorded yet (`--long` or `--only` measures them).\n")
    return "\n".join(parts)


def is_measured(group: Mapping[str, Any]) -> bool:
    """Whether a recorded group has a figure that was measured."""
    return any(not row.get("absent") for row in group.get("figures", ()))


def reasons(figures: Iterable[Figure]) -> str:
    """Why figures are absent, and which, in words."""
    names: dict[str, list[str]] = {}
    for figure in figures:
        names.setdefault(figure.absent, []).append(figure.name)
    return "; ".join(f"not measured: {why}: {', '.join(told)}" for why, told in names.items())


def described(taken: Mapping[str, Any]) -> str:
    """A machine in one paragraph."""
    packages = ", ".join(f"{name} {taken[name]}" for name in PACKAGES if taken.get(name))
    return (
        f"{taken['when'][:16].replace('T', ' ')} UTC, {taken['cores']} cores of {taken['processor']}, "
        f"{taken['memory_gb']} GB, load {taken['load']}, {taken['system']}, Python {taken['python']}, {packages}."
    )


def figures_of(group: Mapping[str, Any]) -> list[Figure]:
    """The figures of a recorded group."""
    derived = {"ratio", "target", "holds"}
    return [Figure(**{key: value for key, value in row.items() if key not in derived}) for row in group["figures"]]
