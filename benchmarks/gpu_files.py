"""Full-size model files with random weights, for speed alone: which values they have does not matter to it."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.full.random_checkpoint import KEYS, is_norm

LITTLE = 0.5  # of the usual deviation, so that nothing grows without bound from layer to layer


def write_layout(layout: str, path: Path, device: torch.device) -> Path:
    """A file of a layout ("sd15", "sdxl", "svd_xt") in half precision; one that is there already stays."""
    if path.exists():
        return path
    shapes: Sequence[tuple[str, str, list[int]]] = json.loads(gzip.decompress(KEYS.read_bytes()))[layout]
    generator = torch.Generator(device).manual_seed(0)
    tensors = {name: drawn(name, kind, shape, generator) for name, kind, shape in shapes}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, part)
    part.replace(path)
    return path


def drawn(name: str, kind: str, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """One random tensor of a layout: tables of whole numbers count up, norms begin at one."""
    if kind.startswith("I"):
        return torch.arange(math.prod(shape)).reshape(tuple(shape))
    if is_norm(name) and name.endswith("weight"):
        return torch.ones(tuple(shape), dtype=torch.float16)
    fan_in = max(1, math.prod(shape[1:])) if len(shape) > 1 else 2500
    numbers = torch.randn(tuple(shape), generator=generator, device=generator.device, dtype=torch.float32)
    return (numbers * (LITTLE / math.sqrt(fan_in))).half().cpu()
