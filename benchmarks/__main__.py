"""Measures everything and prints one table: python -m benchmarks [--long] [--only GROUP ...] [--record]."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import (
    chains,
    crowds,
    gpu,
    loading,
    pictures,
    prompts,
    routes,
    saving,
    startup,
    steps,
    transformer_steps,
    workers,
)
from benchmarks.comparison import FAILING, compared, report
from benchmarks.figures import Figure, table
from benchmarks.model_files import large_files
from benchmarks.record import Measured, machine, record, rows_of, seconds_of

GROUPS: Mapping[str, Callable[[], list[Figure]]] = {
    "startup": startup.figures,
    "routes": routes.figures,
    "prompts": prompts.figures,
    "chains": chains.figures,
    "crowds": crowds.figures,
    "workers": workers.figures,
    "saving": saving.figures,
    "loading": loading.figures,
    "steps": steps.figures,
    "transformers": transformer_steps.figures,
    "pictures": pictures.figures,
    "pictures_long": pictures.more,
    "gpu": gpu.figures,
    "gpu_ways": gpu.ways,
    "gpu_compiled": gpu.beside_compiled,
}
"""Each group starts what it needs, measures, and ends it again."""

LONG = frozenset({"pictures_long", "gpu_ways", "gpu_compiled"})
"""What takes minutes more, and is measured on request."""


def main() -> int:
    """Measure the groups that were asked for; the status is 1 if something is worse than in the record."""
    given = parsed()
    begun = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and files of this run are gone then too
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # servers find their code compiled, as the libraries' is
    taken = machine()
    with large_files():
        measured = measure(given.only or chosen(long=given.long, has_gpu=gpu.cuda() is not None))
    found = {name: group.figures for name, group in measured.items()}
    sys.stdout.write(f"{table(figure for group in found.values() for figure in group)}\n")
    changed = compared(found)
    sys.stdout.write(f"\n{report(changed, here=taken['processor'])}\n")
    if given.json:
        told = {"machine": taken, "figures": rows_of(found)}
        given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if given.record:
        record(measured, taken, GROUPS)
    sys.stdout.write(f"measured in {time.perf_counter() - begun:.0f} s\n")
    return int(any(change.kind in FAILING for change in changed))


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure everything, print one table.")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--long", action="store_true", help=f"also {', '.join(sorted(LONG))}: minutes more")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument(
        "--record", action="store_true", help="write docs/benchmarks.md and what later runs compare with"
    )
    return parser.parse_args()


def chosen(*, long: bool, has_gpu: bool) -> list[str]:
    """The groups of a run. Without a GPU those that need one cost nothing, and tell that they were not measured."""
    return [name for name in GROUPS if long or name not in LONG or (name.startswith("gpu") and not has_gpu)]


def measure(names: Sequence[str]) -> dict[str, Measured]:
    """Measure groups one after another, and tell on standard error how far that is."""
    before, found = seconds_of(), dict[str, Measured]()
    for number, name in enumerate(names, 1):
        sys.stderr.write(f"[{number}/{len(names)}] {name} ...\n")
        begun = time.perf_counter()
        figures = GROUPS[name]()
        found[name] = Measured(figures=figures, seconds=time.perf_counter() - begun)
        sys.stderr.write(f"[{number}/{len(names)}] {name}: {found[name].seconds:.0f} s{rest(names[number:], before)}\n")
    return found


def rest(names: Sequence[str], before: Mapping[str, float]) -> str:
    """What is left, in words; with a guess of its seconds where the record knows those of all."""
    if not names:
        return ""
    guess = f", about {sum(before[name] for name in names):.0f} s" if before.keys() >= set(names) else ""
    return f"; left: {', '.join(names)}{guess}"


if __name__ == "__main__":
    sys.exit(main())
