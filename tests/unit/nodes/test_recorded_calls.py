"""Every recorded call of a node of ours gives the recorded result (reference/numeric, ops_* and conditioning)."""

from __future__ import annotations

from importlib import import_module

import pytest

from nodes.builtin import MODULES
from tests.maths.recordings import cases
from tests.unit.nodes.recorded import calls, differences, filled

ROUGH = 1e-4
LOSSY = 1 / 255 + 1e-6
NODES = {cls.__name__: cls for name in MODULES for cls in import_module(f"nodes.builtin.{name}").NODES}
FILES = ("ops_image", "ops_latent", "ops_mask", "conditioning")
CASES = [(file, name) for file in FILES for name in calls(file, set(NODES)) if not name.startswith("sample/")]


def tolerance(file: str, inputs: dict[str, object]) -> float:
    if file == "conditioning":
        return 1e-6
    method = {inputs.get(name) for name in ("upscale_method", "interpolation")}
    if "lanczos" in method:
        return LOSSY
    return ROUGH if method & {"bicubic", "bislerp"} else 1e-5


@pytest.mark.parametrize(("file", "name"), CASES, ids=[f"{file}-{name}" for file, name in CASES])
def test_recorded_call(file, name):
    case = cases(file)[name]
    cls = NODES[case["node"]]
    inputs = filled(file, case["inputs"])
    result = getattr(cls(), cls.FUNCTION)(**inputs)
    assert differences(list(result), filled(file, case["outputs"]), tolerance(file, inputs)) == []
