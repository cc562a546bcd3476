"""comfy.latent_formats and comfy.model_sampling against recorded numbers."""

from __future__ import annotations

import json

import pytest
import torch

from tests.maths.recordings import error, tensors
from tests.unit.nodes.compat.conftest import COMPAT, Host

FORMATS = sorted(json.loads((COMPAT / "comfy" / "latent_formats.json").read_text()))


def test_formats_scale_as_recorded(host: Host):
    recorded, wrong = tensors("ops_latent"), []
    for name in FORMATS:
        made = getattr(host("comfy.latent_formats"), name)()
        for way in ("process_in", "process_out"):
            key = f"format/{name}"
            if error(getattr(made, way)(recorded[f"{key}/in"]), recorded[f"{key}/{way}"]) > 1e-6:
                wrong.append(f"{name}.{way}")
    assert not wrong


def test_a_prediction_and_levels_are_mixed_as_packs_do(host: Host):
    module = host("comfy.model_sampling")

    class Mixed(module.ModelSamplingDiscreteFlow, module.CONST):
        pass

    mixed = Mixed()
    mixed.set_parameters(shift=3.0)
    assert mixed.is_flow
    assert mixed.percent_to_sigma(0.5) == pytest.approx(0.75)
    sampling = type("Zero", (module.ModelSamplingDiscrete, module.V_PREDICTION), {})(zsnr=True)
    assert sampling.sigma_max > 1000
    x = torch.ones(1, 4, 2, 2)
    assert sampling.calculate_denoised(torch.tensor([1.0]), x, x).shape == x.shape
