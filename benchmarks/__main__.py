"""Measures everything and prints one table: python -m benchmarks [--only GROUP ...] [--json FILE]."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import chains, crowds, gpu, prompts, routes, startup
from benchmarks.figures import Figure, table

GROUPS: Mapping[str, Callable[[], list[Figure]]] = {
    "startup": startup.figures,
    "routes": routes.figures,
    "prompts": prompts.figures,
    "chains": chains.figures,
    "crowds": crowds.figures,
    "gpu": gpu.figures,
    "gpu_ways": gpu.ways,
    "gpu_compiled": gpu.beside_compiled,
}
"""Each group starts what it needs, measures, and ends it again."""


def main() -> int:
    """Measure the groups that were asked for; the status is 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    given = parser.parse_args()
    found: dict[str, list[Figure]] = {}
    for name in given.only:
        found[name] = GROUPS[name]()
        sys.stdout.write(f"{table(found[name])}\n\n" if sys.stdout.isatty() else "")
    sys.stdout.write(f"{table(figure for group in found.values() for figure in group)}\n")
    if given.json:
        rows = {name: [figure.row() for figure in group] for name, group in found.items()}
        given.json.write_text(json.dumps({"machine": machine(), "figures": rows}, indent=1) + "\n", encoding="utf-8")
    return 0 if all(figure.holds() for group in found.values() for figure in group) else 1


def machine() -> dict[str, object]:
    """Where and when it was measured."""
    return {"when": datetime.now(UTC).isoformat(), "python": platform.python_version(), "system": platform.platform()}


if __name__ == "__main__":
    sys.exit(main())
