"""Areas, masks, strengths and timestep ranges against recorded final latents of the toy denoiser."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from executor.inference.sample import sample
from tests.maths.recordings import cases, error, tensors, toy_handle

NAMES = [name for name in cases("conditioning") if name.startswith("sample/")]
Entries = list[list[object]]


def given(key: str) -> Tensor:
    return tensors("conditioning")[f"in/{key}"]


def entry(key: str, **options: object) -> Entries:
    return [[given(key), options]]


def area(key: str, width: int, height: int, x: int, y: int, strength: float = 1.0) -> Entries:
    return entry(key, area=(height // 8, width // 8, y // 8, x // 8), strength=strength, set_area_to_bounds=False)


def masked(key: str, mask: str, strength: float, *, bounds: bool = False) -> Entries:
    plane = given(mask)
    mask_plane = plane if plane.ndim == 3 else plane[None]
    return entry(key, mask=mask_plane, mask_strength=strength, set_area_to_bounds=bounds)


def average(to: Tensor, other: Tensor, strength: float) -> Tensor:
    padded = torch.cat([other, other.new_zeros(1, to.shape[1] - other.shape[1], to.shape[2])], dim=1)
    return to * strength + padded * (1 - strength)


POSITIVE: dict[str, Callable[[], Entries]] = {
    "two_areas": lambda: area("a", 96, 128, 0, 0) + area("b", 88, 64, 96, 64) + entry("c"),
    "two_areas_no_base": lambda: area("a", 96, 128, 0, 0) + area("b", 96, 128, 96, 0),
    "area_gap": lambda: area("a", 64, 64, 24, 16),
    "area_strength": lambda: entry("c") + area("a", 80, 72, 8, 16, 0.35),
    "area_overhang": lambda: area("a", 160, 160, 40, 40) + entry("c"),
    "percentage": lambda: entry("a", area=("percentage", 0.6, 0.5, 0.2, 0.3), strength=1.1) + entry("c"),
    "mask_default": lambda: masked("a", "mask", 1.0) + entry("c"),
    "mask_strength": lambda: masked("a", "mask", 0.5) + entry("c"),
    "mask_bounds": lambda: masked("a", "mask2d_half", 1.0, bounds=True) + entry("c"),
    "mask_only": lambda: masked("a", "mask2d_half", 1.0),
    "neg_area": lambda: entry("a"),
    "range": lambda: entry("a", start_percent=0.0, end_percent=0.4) + entry("b", start_percent=0.4, end_percent=1.0),
    "range_overlap": lambda: entry("a", start_percent=0.2, end_percent=0.8) + entry("c"),
    "average": lambda: [[average(given("a"), given("b"), 0.3), {}]],
    "combine3": lambda: entry("a") + entry("b") + entry("c"),
    "strength_whole": lambda: entry("a", strength=0.5) + entry("c"),
    "zero_neg": lambda: entry("a"),
}
NEGATIVE: dict[str, Callable[[], Entries]] = {
    "neg_area": lambda: area("neg", 64, 64, 0, 0) + entry("b"),
    "zero_neg": lambda: [[torch.zeros_like(given("neg")), {}]],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_conditioning_draws_as_recorded(name: str) -> None:
    case, what = cases("conditioning")[name], name.split("/")[1]
    batch = int(case["latent"].split()[-1].split("x")[0])
    final = sample(
        toy_handle(case["model"]),
        {"samples": torch.zeros(batch, 4, 16, 24)},
        seed=case["seed"],
        steps=case["steps"],
        cfg=case["cfg"],
        sampler_name=case["sampler_name"],
        scheduler=case["scheduler"],
        positive=POSITIVE[what](),
        negative=NEGATIVE[what]() if what in NEGATIVE else entry("neg"),
    )
    stored = final if case["stored"] == "all" else final[1:2]
    assert error(stored, tensors("conditioning")[name]) <= 1e-4
