"""Work in overlapping tiles: every tile is counted, in two and three dimensions."""

from __future__ import annotations

import torch

from executor.inference.tiling import get_tiled_scale_steps, tiled_scale, tiled_scale_multidim
from tests.maths.recordings import error


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
