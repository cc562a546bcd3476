"""Work in overlapping tiles against recorded numbers (numeric/ops_mask, tiled_scale/*)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from executor.inference.tiling import get_tiled_scale_steps, tiled_scale, tiled_scale_multidim
from tests.maths.recordings import cases, error, tensors

RECORDED = [name for name in cases("ops_mask") if name.startswith("tiled_scale/")]


def toy_decoder(tile: Tensor) -> Tensor:
    """Nearest x8 of three channels, with a ramp over each tile so that its borders show."""
    grown = tile[:, :3].repeat_interleave(8, -1).repeat_interleave(8, -2)
    return grown + torch.linspace(0, 1, grown.shape[-1]) + 2 * torch.linspace(0, 1, grown.shape[-2])[:, None]


@pytest.mark.parametrize("name", RECORDED)
def test_tiles_blend_as_recorded(name: str):
    case, recorded = cases("ops_mask")[name], tensors("ops_mask")
    size = case["tile_x"], case["tile_y"], case["overlap"]
    out = tiled_scale(recorded[f"{name}/in"], toy_decoder, *size, upscale_amount=8, out_channels=3)
    assert error(out[:, :, ::3, ::3], recorded[f"{name}/out"]) < 1e-6


def test_every_tile_is_counted():
    class Bar:
        count = 0.0

        def update(self, value: float) -> None:
            self.count += value

    bar, x = Bar(), torch.rand(2, 3, 40, 24)
    out = tiled_scale(x, lambda tile: tile, 16, 16, 4, upscale_amount=1, out_channels=3, pbar=bar)
    assert bar.count == 2 * get_tiled_scale_steps(24, 40, 16, 16, 4)
    assert error(out, x) < 1e-6


def test_shrinking_in_three_dimensions():
    x = torch.rand(1, 2, 8, 16, 16)
    out = tiled_scale_multidim(
        x,
        lambda tile: torch.nn.functional.avg_pool3d(tile, (1, 2, 2)),
        tile=(4, 8, 8),
        overlap=(1, 4, 4),
        upscale_amount=[lambda frames: frames, 2, 2],
        out_channels=2,
        downscale=True,
    )
    assert error(out, torch.nn.functional.avg_pool3d(x, (1, 2, 2))) < 1e-5
