"""Rules of guidance: what they do to a model's answers."""

import math

import pytest
import torch

from executor.inference.conditions import Condition, resolve
from executor.inference.guidance import Guider
from executor.inference.guidance_rules import (
    SelfAttention,
    SkippedLayers,
    against_empty,
    blur,
    by_likeness,
    perpendicular,
    perturbed,
    sides_of,
)
from tests.maths.recordings import toy_handle


def test_perpendicular_guidance_leaves_what_both_sides_share():
    empty, cond = torch.zeros(1, 2, 1, 1), torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)
    uncond = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)
    found = perpendicular(cond, uncond, empty, 2.0, 0.5)
    assert found.flatten().tolist() == [4.0, -3.0]


class Seeing:
    """A network whose answer tells whether the middle's attention was replaced."""

    sampling = None

    def apply(self, x, sigma, *, context, transformer_options=None, **conditions):
        here = (transformer_options or {}).get("patches_replace", {}).get("attn1", {})
        value = torch.ones(1, 4, 2)
        answer = here[("middle", 0)](value * 5, value * 7, value * 3, {}).mean() if here else 1.0
        return torch.full_like(x, float(answer)) * context.mean(dim=(1, 2))[:, None, None, None]


def guided(options, cfg=1.0):
    sides = [[Condition(context=torch.full((1, 1, 1), value))] for value in (1.0, 0.5)]
    return Guider(Seeing(), *sides, cfg, options)(torch.ones(1, 4, 8, 8), 1.0)


def likened(cond, uncond, scale):
    cond, uncond = (torch.tensor(side).reshape(1, 2, 1, 2) for side in (cond, uncond))
    given = {"cond_denoised": cond, "uncond_denoised": uncond, "cond_scale": scale}
    return by_likeness({**given, "denoised": uncond + (cond - uncond) * scale}).flatten().tolist()


def test_likeness_leaves_guidance_whole_where_both_sides_agree():
    assert likened([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], 5.0) == pytest.approx([1.0, 2.0, 3.0, 4.0])


def test_likeness_leaves_opposite_sides_to_the_positive_one():
    assert likened([1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -3.0, -4.0], 5.0) == pytest.approx([5.0, 10.0, 15.0, 20.0])


def test_likeness_compares_roots_over_the_channels_of_each_cell():
    # cells (1, 0) and (0, 1) against middles (2, 1.5) and (0, 0.5): cosines of roots (4/7)**.5 and 1
    share = 0.5 + ((2.0 / 3.5) ** 0.5 + 1.0) / 4
    cond, uncond = [1.25, 0.0, 0.75, 0.5], [1.0, 0.0, 0.0, 1.0]
    expected = [2 * each - share * other for each, other in zip(cond, uncond, strict=True)]
    assert likened(cond, uncond, 2.0) == pytest.approx(expected)


def test_perturbed_attention_pushes_away_from_cells_that_see_themselves_only():
    found = guided({"sampler_post_cfg_function": [perturbed(0.5)]})
    assert found.unique().tolist() == [1.0 + (1.0 - 3.0) * 0.5]


def test_perturbed_attention_of_no_scale_does_nothing():
    assert guided({"sampler_post_cfg_function": [perturbed(0.0)]}).unique().tolist() == [1.0]


def test_watched_attention_answers_as_attention():
    from executor.inference.attention import attend

    query, key, value = torch.randn(3, 2, 9, 8)
    watching = SelfAttention(0.5, 2.0)
    found = watching.watch(query, key, value, {"n_heads": 2, "cond_or_uncond": [0, 1]})
    torch.testing.assert_close(found, attend(query, key, value, 2), rtol=1e-5, atol=1e-5)
    assert watching.seen.shape == (1, 2, 9, 9)


def test_only_what_is_looked_at_is_blurred():
    watching = SelfAttention(0.5, 2.0)
    watching.seen = torch.zeros(1, 2, 16, 16)
    watching.seen[..., 5] = 1.0  # everyone looks at one cell of 4 x 4
    latent = torch.randn(1, 4, 8, 8)
    changed = (watching.degraded(latent) != latent).any(dim=1)[0]
    assert changed.nonzero().amin(dim=0).tolist() == [2, 2]
    assert changed.nonzero().amax(dim=0).tolist() == [3, 3]


@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize("size", [(65, 96), (41, 55), (64, 64), (5, 12), (9, 9)])
def test_the_cells_that_look_lie_as_a_unet_halves_them(size, halvings):
    rows, columns = (math.ceil(side / 2**halvings) for side in size)
    assert sides_of(rows * columns, *size) == (rows, columns)
    watching = SelfAttention(0.5, 2.0)
    watching.seen = torch.zeros(1, 1, rows * columns, rows * columns)
    watching.seen[..., -1] = 1.0  # everyone looks at the last cell
    latent = torch.randn(1, 4, *size)
    changed = (watching.degraded(latent) != latent).any(dim=1)[0].nonzero()
    assert changed.amax(dim=0).tolist() == [size[0] - 1, size[1] - 1]
    first = [math.ceil(side - side / count) for side, count in zip(size, (rows, columns), strict=True)]
    assert changed.amin(dim=0).tolist() == first


def test_cells_that_no_halving_gives_lie_nearest_to_the_pictures_proportions():
    assert sides_of(12, 30, 41) == (3, 4)


@pytest.mark.parametrize("size", [(8, 8), (3, 9)])
def test_a_blur_keeps_even_areas_and_shapes(size):
    even = torch.full((1, 4, *size), 0.3)
    torch.testing.assert_close(blur(even, 2.0), even)


LAYERS = SkippedLayers(double=(7,), single=(2,), start_sigma=2.0, end_sigma=0.5)


class Layered:
    """A network whose answer counts the blocks it has to do without."""

    sampling = None

    def apply(self, x, sigma, *, context, transformer_options=None, **conditions):
        skipped = (transformer_options or {}).get("patches_replace", {}).get("dit", {})
        assert set(skipped) in (set(), {("double_block", 7), ("single_block", 2)})
        return torch.full_like(x, 1.0 - 0.25 * len(skipped)) * context.mean(dim=(1, 2))[:, None, None, None]


def layered(options, sigma=1.0, cfg=2.0):
    sides = [[Condition(context=torch.full((1, 1, 1), value))] for value in (1.0, 0.5)]
    return Guider(Layered(), *sides, cfg, options)(torch.ones(1, 4, 2, 2), sigma).unique().tolist()


def test_a_push_away_from_skipped_layers_acts_between_its_noise_levels():
    options = {"sampler_post_cfg_function": [LAYERS.push(2.0, 0.0)]}
    assert layered(options) == [1.5 + (1.0 - 0.5) * 2.0]
    assert layered(options, sigma=3.0) == [1.5]


def test_the_negative_side_alone_does_without_the_layers():
    options = {"sampler_calc_cond_batch_function": LAYERS.answers}
    assert layered(options) == [0.25 + 2.0 * (1.0 - 0.25)]
    assert layered(options, sigma=0.1) == [1.5]
    assert layered(options, cfg=1.0) == [1.0]


def test_perp_neg_measures_from_the_empty_text():
    handle = toy_handle("eps_sd15")
    entries = [[[torch.full((1, 1, 4), value), {}]] for value in (0.5, -0.5, 0.1)]
    sampling = handle.model_sampling
    sides = [resolve(entry, torch.Size((1, 4, 2, 2)), sampling) for entry in entries]
    x = torch.ones(1, 4, 2, 2)
    plain = [Guider(handle.model, side, side, 1.0)(x, 1.0) for side in sides]
    options = {"sampler_cfg_function": against_empty(entries[2], 1.5)}
    found = Guider(handle.model, sides[0], sides[1], 4.0, options)(x, 1.0)
    torch.testing.assert_close(found, perpendicular(*plain, 4.0, 1.5), rtol=1e-5, atol=1e-5)
