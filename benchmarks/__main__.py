"""Measures everything and prints one table: python -m benchmarks [--only GROUP ...] [--json FILE] [--record]."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import chains, crowds, gpu, loading, pictures, prompts, routes, startup, steps, workers
from benchmarks.figures import Figure, table
from benchmarks.record import machine, record, report, rows_of

GROUPS: Mapping[str, Callable[[], list[Figure]]] = {
    "startup": startup.figures,
    "routes": routes.figures,
    "prompts": prompts.figures,
    "chains": chains.figures,
    "crowds": crowds.figures,
    "workers": workers.figures,
    "loading": loading.figures,
    "steps": steps.figures,
    "pictures": pictures.figures,
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
    parser.add_argument(
        "--record", action="store_true", help="write docs/benchmarks.md and what later runs compare with"
    )
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # servers find their code compiled, as the libraries' is
    taken = machine()
    found: dict[str, list[Figure]] = {}
    for name in given.only:
        found[name] = GROUPS[name]()
        sys.stdout.write(f"{table(found[name])}\n\n" if sys.stdout.isatty() else "")
    sys.stdout.write(f"{table(figure for group in found.values() for figure in group)}\n")
    sys.stdout.write(f"\n{report(found)}\n")
    if given.json:
        told = {"machine": taken, "figures": rows_of(found)}
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if given.record:
        record(found, taken, GROUPS)
    return 0 if all(figure.holds() for group in found.values() for figure in group) else 1


if __name__ == "__main__":
    sys.exit(main())
