"""Projected guidance and operations on latents: what they do where it is easy to see. The recordings: tests/parity."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from executor.inference.filters import gaussian, sharpened
from executor.inference.guidance_parts import ProjectedGuidance, operated
from executor.inference.inpainting import mask_of_level
from executor.inference.latent_filters import tone_mapped, with_sharp_directions

SCALE = 4.0


def given(cond: torch.Tensor, uncond: torch.Tensor, sigma: float = 1.0) -> dict[str, object]:
    return {"conds_out": [cond, uncond], "cond_scale": SCALE, "sigma": torch.tensor([sigma])}


def mixed(sides: list[torch.Tensor]) -> torch.Tensor:
    """What plain guidance makes of both sides."""
    return sides[1] + SCALE * (sides[0] - sides[1])


@pytest.fixture
def sides() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 6, 6, generator=draw), torch.randn(2, 4, 6, 6, generator=draw)


# ---------------------------------------------------------------- projected guidance


def test_without_limits_the_whole_push_is_added_to_the_positive_side(sides):
    cond, uncond = sides
    found = mixed(ProjectedGuidance(1.0, 0.0, 0.0)(given(cond, uncond)))
    assert torch.allclose(found, cond + SCALE * (cond - uncond), atol=1e-5)


def test_at_eta_nothing_is_pushed_along_the_positive_side(sides):
    cond, uncond = sides
    moved = mixed(ProjectedGuidance(0.0, 0.0, 0.0)(given(cond, uncond))) - cond
    assert (moved * cond).sum(dim=(1, 2, 3)).abs().max() < 1e-3


def test_no_push_is_longer_than_the_threshold(sides):
    cond, uncond = sides
    moved = mixed(ProjectedGuidance(1.0, 2.0, 0.0)(given(cond, uncond))) - cond
    assert torch.allclose(moved.flatten(1).norm(dim=1) / SCALE, torch.tensor([2.0, 2.0]), atol=1e-4)


def test_earlier_pushes_count_until_another_sampling_begins(sides):
    cond, uncond = sides
    guide = ProjectedGuidance(1.0, 0.0, 0.5)
    first = mixed(guide(given(cond, uncond, sigma=10.0)))
    second = mixed(guide(given(cond, uncond, sigma=5.0)))
    assert torch.allclose(second - cond, 1.5 * (first - cond), atol=1e-4)
    assert torch.equal(mixed(guide(given(cond, uncond, sigma=10.0))), first)


@pytest.mark.parametrize("hook", [ProjectedGuidance(0.5, 1.0, 0.0), operated(lambda push: push)])
def test_one_side_alone_is_left(hook, sides):
    found = hook({"conds_out": [sides[0]], "cond_scale": 1.0, "sigma": torch.tensor([1.0])})
    assert torch.equal(found[0], sides[0])


def test_an_operation_changes_the_push_alone(sides):
    cond, uncond = sides
    found = operated(lambda push: 2 * push)(given(cond, uncond))
    assert torch.allclose(found[0] - found[1], 2 * (cond - uncond), atol=1e-6)
    assert torch.equal(found[1], uncond)


# ---------------------------------------------------------------- operations and masks


def test_a_flat_picture_has_nothing_to_sharpen():
    flat = torch.full((1, 3, 8, 8), 0.4)
    assert torch.allclose(sharpened(flat, gaussian(2, 1.0), 1.0), flat, atol=1e-6)


def test_sharpening_moves_away_from_the_blur(sides):
    kernel = gaussian(1, 1.0)
    assert torch.equal(sharpened(sides[0], kernel, 0.0), sides[0])
    assert sharpened(sides[0], kernel, 0.2).std() > sides[0].std()


def test_tone_mapping_shortens_long_cells_more_and_turns_none(sides):
    found = tone_mapped(sides[0], 1.0)
    before, after = sides[0].norm(dim=1), found.norm(dim=1)
    assert (after < before).all()
    longest, shortest = before.flatten().argmax(), before.flatten().argmin()
    assert (after / before).flatten()[longest] < (after / before).flatten()[shortest]
    assert torch.allclose(torch.cosine_similarity(found, sides[0], dim=1), torch.ones(2, 6, 6), atol=1e-5)


def test_latents_of_nothing_survive_both_operations():
    zeros = torch.zeros(1, 4, 4, 4)
    assert torch.equal(tone_mapped(zeros, 1.0), zeros)
    assert torch.isfinite(with_sharp_directions(zeros, 3, 1.0, 0.5)).all()


@pytest.mark.parametrize(
    ("strength", "expected"), [(1.0, [0.0, 1.0, 1.0]), (0.5, [0.125, 0.75, 1.0]), (0.0, [0.25, 0.5, 1.0])]
)
def test_a_shade_is_redrawn_once_the_time_left_falls_to_it(strength, expected):
    mask = torch.tensor([0.25, 0.5, 1.0]).reshape(1, 1, 1, 3)
    clock = SimpleNamespace(sampling=SimpleNamespace(timestep=lambda sigma: sigma))  # its timestep is the noise level
    extra = {"model": clock, "sigmas": torch.tensor([10.0, 5.0, 0.0])}
    found = mask_of_level(strength, torch.tensor([5.0]), mask, extra)
    assert found.flatten().tolist() == pytest.approx(expected)
