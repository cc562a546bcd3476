"""The recorded table and the last ratios of each figure: written on request, as data and as a page for people."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Figure, table

RECORD = Path(__file__).parent / "recorded.json"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
KEPT_RATIOS = 5
"""So many recorded ratios of each figure are kept: one run says little of a figure that moves."""
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
        before = {(row["name"], row["floor_name"]): row for row in groups.get(name, {}).get("figures", ())}
        rows = [row_after(figure, before.get((figure.name, figure.floor_name))) for figure in group.figures]
        if all(row["absent"] for row in rows) and is_measured(groups.get(name, {})):
            continue
        groups[name] = {"machine": taken, "seconds": round(group.seconds, 1), "figures": rows}
    ordered = [*(name for name in names if name in groups), *(name for name in groups if name not in names)]
    groups = {name: groups[name] for name in ordered}
    path.write_text(json.dumps({"groups": groups}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page.write_text(page_of(groups, [name for name in names if name not in groups]), encoding="utf-8")


def row_after(figure: Figure, before: Mapping[str, Any] | None) -> dict[str, object]:
    """The row of a figure, with its ratios in the last tables, this one's last; `before` is its row so far."""
    row = figure.row()
    now = [figure.ratio] if figure.ratio is not None and not figure.absent else []
    return {**row, "ratios": [*([] if before is None else ratios_of(before)), *now][-KEPT_RATIOS:]}


def ratios_of(row: Mapping[str, Any]) -> list[float]:
    """The recorded ratios of a row, the newest last; rows of older records have one."""
    ratios: list[float] = row.get("ratios", [row["ratio"]] if row["ratio"] and not row.get("absent") else [])
    return ratios


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
    missing = [row for name, group in groups.items() if not is_measured(group) for row in reasons(name, group)]
    missing += [f"| `{name}` | not recorded yet: `--only {name}` measures it | | |" for name in unknown]
    if missing:
        head = ["## Not measured\n", "| Group | Why | Tried | Figures |", "|---|---|---|---|"]
        parts.append("\n".join([*head, *missing, ""]))
    return "\n".join(parts)


def is_measured(group: Mapping[str, Any]) -> bool:
    """Whether a recorded group has a figure that was measured."""
    return any(not row.get("absent") for row in group.get("figures", ()))


def reasons(name: str, group: Mapping[str, Any]) -> list[str]:
    """Why the figures of a group are absent, when that was found, and which they are: rows of a table."""
    names: dict[str, list[str]] = {}
    for figure in figures_of(group):
        names.setdefault(figure.absent, []).append(figure.name)
    when = day_of(group["machine"])
    return [f"| `{name}` | {why} | {when} | {', '.join(told)} |" for why, told in names.items()] or [
        f"| `{name}` | it gave no figure | {when} | |"
    ]


def day_of(taken: Mapping[str, Any]) -> str:
    """When it was, to the minute."""
    return f"{taken['when'][:16].replace('T', ' ')} UTC"


def described(taken: Mapping[str, Any]) -> str:
    """A machine in one paragraph."""
    packages = ", ".join(f"{name} {taken[name]}" for name in PACKAGES if taken.get(name))
    return (
        f"{day_of(taken)}, {taken['cores']} cores of {taken['processor']}, "
        f"{taken['memory_gb']} GB, load {taken['load']}, {taken['system']}, Python {taken['python']}, {packages}."
    )


def figures_of(group: Mapping[str, Any]) -> list[Figure]:
    """The figures of a recorded group."""
    derived = {"ratio", "target", "holds", "ratios"}
    return [Figure(**{key: value for key, value in row.items() if key not in derived}) for row in group["figures"]]
