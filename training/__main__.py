"""Trains the demo checkpoint from nothing, or goes on where it stopped: all of training/README.md in one command."""

from __future__ import annotations

import argparse
import subprocess
import sys

RUNS = (["train_vae", "decoder"], ["train_vae", "encoder"], ["train_unet"])
AFTER = (["export"], ["evaluate", "--seeds", "0", "1", "2", "4", "--sheet", "docs/demo_model.png"], ["check_layout"])


def main() -> None:
    """Command line: trains the parts one after another, exports the file, measures it and checks its layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cuda trains on the GPU")
    options = parser.parse_args()
    for program, *arguments in RUNS:
        run(program, *arguments, "--device", options.device)
    for program, *arguments in AFTER:
        run(program, *arguments)


def run(program: str, *arguments: str) -> None:
    """Run one program of the training; CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", f"training.{program}", *arguments], check=True)


if __name__ == "__main__":
    main()
