"""The last recorded table: written on request, and compared with in ratios only, since machines differ."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
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
    before = {row["name"]: row for group in recorded.get("groups", {}).values() for row in group["figures"]}
    worse = []
    for figure in (figure for group in found.values() for figure in group):
        was = before.get(figure.name, {}).get("ratio")
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


def record(
    found: Groups, taken: Mapping[str, Any], names: Iterable[str] = (), path: Path = RECORD, page: Path = PAGE
) -> None:
    """Put these groups into the record, in the place of what it has of them, and write its page anew.

    `names` are those of all groups there are: the page tells which were never recorded.
    """
    known = json.loads(path.read_text(encoding="utf-8"))["groups"] if path.exists() else {}
    groups = {**known, **{name: {"machine": taken, "figures": rows} for name, rows in rows_of(found).items()}}
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
    missing = [name for name, group in groups.items() if not group["figures"]]
    for name, group in groups.items():
        if group["figures"]:
            parts.append(f"## {name}\n\n{described(group['machine'])}\n\n```\n{table(figures_of(group))}\n```\n")
    if missing or unknown:
        parts.append("## Not measured\n")
    if missing:
        parts.append(f"{quoted(missing)}: the machine had no NVIDIA GPU. See [gpu.md](gpu.md).\n")
    if unknown:
        parts.append(f"{quoted(unknown)}: not recorded yet.\n")
    return "\n".join(parts)


def quoted(names: Sequence[str]) -> str:
    """Names of groups in a row."""
    return ", ".join(f"`{name}`" for name in names)


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
