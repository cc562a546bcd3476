"""`make parity`: compares a recording with what is here, a table on standard output.

python -m tests.parity [--data FOLDER] [--full]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from tests.parity.recording import SHIPPED, Recording
from tests.parity.table import checks, lines, outcome


def main(arguments: list[str]) -> int:
    """Compare; 1 when a case fails, 2 when there is nothing to compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description="compare recorded numbers")
    parser.add_argument("--data", type=Path, default=SHIPPED, help="a folder in the layout of tests/data/numeric")
    parser.add_argument("--full", action="store_true", help="the full-size files too: minutes and gigabytes")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recording = Recording(given.data.resolve())
    todo = list(checks(recording))
    outcomes = [outcome(check) for check in todo]
    if given.full:
        torch.set_num_threads(torch.get_num_interop_threads())
        from tests.parity import full

        with full.prepared(recording) as more:
            outcomes += [outcome(check) for check in more]
    if not outcomes:
        sys.stderr.write(f"no recordings in {given.data}\n")
        return 2
    sys.stdout.write("\n".join(lines(outcomes)) + "\n")
    return 0 if all(each.passed for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
