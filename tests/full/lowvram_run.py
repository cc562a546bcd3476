"""Runs a recorded workflow with --lowvram in a process of its own and tells its peak resident memory in bytes.

python -m tests.full.lowvram_run CASE CHECKPOINT_FOLDER OUT.safetensors
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from executor.inference.memory import Memory
from tests.full.workflows import Workflow

DATA = Path(__file__).parents[1] / "data" / "numeric"


def peak_resident_bytes() -> int:
    """The most memory this process ever had resident, mapped pages included."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    case, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    nodes = json.loads((DATA / "full_sd15.json").read_text())["cases"][case]["workflow"]
    memory = Memory(torch.device("cpu"), "low")
    workflow = Workflow(nodes, folder, DATA / "h_inputs", memory)
    latent, image = workflow.saved("SaveLatent"), workflow.saved("SaveImage")
    save_file({"latent": latent["samples"], "image": image.contiguous()}, out)
    sys.stdout.write(str(peak_resident_bytes()))
