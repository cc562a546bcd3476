"""Nodes that lead a model by worse answers or change its attention: what a guided call answers with each of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from executor.inference.attention import attend
from executor.inference.checkpoint import load_checkpoint
from executor.inference.conditions import Condition
from executor.inference.guidance import Guider
from executor.inference.memory import Memory
from nodes.builtin.model_patches import (
    FreeU_V2,
    HyperTile,
    PerpNeg,
    PerturbedAttentionGuidance,
    SelfAttentionGuidance,
    SkipLayerGuidanceDiT,
    SkipLayerGuidanceDiTSimple,
    TomePatchModel,
)
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

SIGMA, CFG = 2.0, 4.0
TEXTS = {"positive": 1.0, "negative": -0.6, "empty": 0.2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of few weights, at work."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    sizes = TinySizes(vocabulary=9, widths=(16, 32), attends=(True, True), text_layers=1, vae_widths=(4, 4))
    handle = load_checkpoint(write_tiny_checkpoint(path, sizes), Memory(mode="cpu")).model
    handle.load()
    return handle


def text(name) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(1, 5, 32, generator=generator) * TEXTS[name] + TEXTS[name]


def picture(side=16) -> Tensor:
    return torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(2))


def answer(model, x, name, **options) -> Tensor:
    """The network's denoised latents for one text."""
    with torch.no_grad():
        return model.model.apply(x, torch.tensor([SIGMA]), context=text(name), transformer_options=options)


def guided(model, x, cfg=CFG, network=None) -> Tensor:
    """What a guided step of the model answers."""
    sides = [[Condition(context=text(name))] for name in ("positive", "negative")]
    with torch.no_grad():
        return Guider(network or model.model, *sides, cfg, model.model_options)(x, SIGMA)


def plain(model, x, cfg=CFG) -> Tensor:
    """Classifier-free guidance written out."""
    uncond = answer(model, x, "negative")
    return uncond + cfg * (answer(model, x, "positive") - uncond)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- leading by worse answers


def test_perp_neg_takes_off_what_the_negative_side_has_beyond_the_positive_one(model):
    [changed] = PerpNeg().patch(model, [[text("empty"), {}]], 0.7)
    x = picture()
    empty = answer(model, x, "empty")
    main, other = (answer(model, x, name) - empty for name in ("positive", "negative"))
    beyond = other - (other * main).sum() / (main * main).sum() * main
    close(guided(changed, x), empty + CFG * (main - 0.7 * beyond))
    close(guided(model, x), plain(model, x))


def test_perturbed_attention_guidance_moves_away_from_cells_that_see_themselves_only(model):
    [changed] = PerturbedAttentionGuidance().patch(model, 3.0)
    x = picture()
    blind = {"attn1": {("middle", 0): lambda query, key, value, options: value}}
    worse = answer(model, x, "positive", patches_replace=blind)
    assert not torch.allclose(worse, answer(model, x, "positive"), rtol=1e-3)
    close(guided(changed, x), plain(model, x) + 3.0 * (answer(model, x, "positive") - worse))


def looked_at(model, x) -> Tensor:
    """Which cells [1, N] of the middle the negative side's attention looks at more than evenly."""
    seen = []

    def watch(query, key, value, options):
        heads = options["n_heads"]
        query, key = (part.unflatten(-1, (heads, -1)).movedim(-2, 1) for part in (query, key))
        seen.append((query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=1).sum(dim=1))
        return value

    answer(model, x, "negative", patches_replace={"attn1": {("middle", 0, 0): watch}})
    return seen[0] > 1.0


def gaussian(latent, sigma) -> Tensor:
    """A picture under 9 x 9 weights of a Gaussian, mirrored at its edges."""
    line = torch.exp(-0.5 * (torch.arange(-4.0, 5.0) / sigma) ** 2)
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = torch.nn.functional.pad(latent, (4, 4, 4, 4), mode="reflect")
    return torch.stack([torch.nn.functional.conv2d(each[:, None], kernel[None, None])[:, 0] for each in padded])


def test_self_attention_guidance_moves_away_from_the_picture_blurred_where_the_model_looks(model):
    [changed] = SelfAttentionGuidance().patch(model, 0.8, 2.0)
    x, uncond = picture(), answer(model, picture(), "negative")
    mask = looked_at(model, x).reshape(1, 1, 8, 8).float().repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert 0.1 < mask.mean() < 0.9
    blurred = torch.where(mask > 0, gaussian(uncond, 2.0), uncond)
    worse = answer(model, x - uncond + blurred, "negative")
    close(guided(changed, x), plain(model, x) + 0.8 * (blurred - worse))


def test_self_attention_guidance_without_a_blur_is_plain_guidance(model):
    [changed] = SelfAttentionGuidance().patch(model, 0.8, 0.0)
    close(guided(changed, picture()), plain(model, picture()))


class Layers:
    """A transformer that adds the number of each of its blocks, for the positive text twice."""

    sampling = None

    def apply(self, x, sigma, *, context, transformer_options=None, **conditions):
        skipped = (transformer_options or {}).get("patches_replace", {}).get("dit", {})
        blocks = {("double_block", n) for n in (7, 8)} | {("single_block", n) for n in (7, 9)}
        total = sum(number for kind, number in blocks - set(skipped))
        times = 1.0 + (context.mean(dim=(1, 2)) > 0)
        return torch.ones_like(x) * total * times[:, None, None, None]


@pytest.mark.parametrize(("double", "single", "skipped"), [("7, 8", "9", 24), ("8", "", 8), ("", "7,9", 16)])
def test_skipped_layers_are_left_and_pushed_away_from(model, double, single, skipped):
    [changed] = SkipLayerGuidanceDiT().skip_guidance(model, double, single, 3.0, 0.0, 1.0, 0.0)
    found = guided(changed, picture(4), network=Layers())
    assert found.unique().tolist() == [31.0 + CFG * 31.0 + 3.0 * 2.0 * skipped]


def test_the_simple_form_leaves_the_layers_out_of_the_negative_side(model):
    [changed] = SkipLayerGuidanceDiTSimple().skip_guidance(model, "7", "9", 0.0, 1.0)
    negative = 31.0 - 16.0
    assert guided(changed, picture(4), network=Layers()).unique().tolist() == [negative + CFG * (62.0 - negative)]


@pytest.mark.parametrize(
    "patch",
    [
        lambda model: SkipLayerGuidanceDiT().skip_guidance(model, "7", "7", 3.0, 0.0, 1.0, 0.5)[0],
        lambda model: SkipLayerGuidanceDiTSimple().skip_guidance(model, "7", "7", 0.0, 1.0)[0],
    ],
)
def test_a_unet_has_no_such_layers_and_is_guided_as_ever(model, patch):
    x = picture()
    changed, cond = patch(model), answer(model, x, "positive")
    wanted = plain(model, x)
    share = 0.5 if "sampler_post_cfg_function" in changed.model_options else 0.0  # of bringing back the deviation
    close(guided(changed, x), wanted * (share * cond.std() / wanted.std() + 1.0 - share))


def test_no_numbers_of_layers_change_nothing(model):
    assert SkipLayerGuidanceDiT().skip_guidance(model, "", "none", 3.0, 0.0, 1.0, 0.0) == (model,)
    assert SkipLayerGuidanceDiTSimple().skip_guidance(model, "", "", 0.0, 1.0) == (model,)


# ---------------------------------------------------------------- features and attention


def patches(model, name):
    return model.model_options["transformer_options"]["patches"][name]


@pytest.mark.parametrize(("times", "b", "s"), [(4, 1.3, 0.9), (2, 1.4, 0.2)])
def test_free_u_v2_has_strengths_for_two_widths_of_this_unet(model, times, b, s):
    [changed] = FreeU_V2().patch(model, 1.3, 1.4, 0.9, 0.2)
    [patch] = patches(changed, "output_block_patch")
    channels = 16 * times  # 16: the width of the small network's first features
    x, skip = torch.rand(1, channels, 6, 6), torch.full((1, channels, 6, 6), 2.0)
    stronger, weaker = patch(x, skip, {})
    mean = x.mean(dim=1, keepdim=True)
    strength = 1 + (b - 1) * (mean - mean.min()) / (mean.max() - mean.min())
    half = channels // 2
    close(stronger, torch.cat([x[:, :half] * strength, x[:, half:]], dim=1))
    close(weaker, skip * s)  # an even picture is its coarsest wave alone


def tokens(side, channels=8, generator=None):
    generator = generator or torch.Generator().manual_seed(5)
    return torch.randn(2, side * side, channels, generator=generator)


def attention_under(changed, x, side):
    """Self-attention of tokens [B, side * side, C] as the changed model computes it at its full size."""
    options = {"original_shape": [2, 4, side, side]}
    [before], [after] = patches(changed, "attn1_patch"), patches(changed, "attn1_output_patch")
    asking, context, value = before(x, x, x, options)
    return asking.shape, after(attend(asking, context, value, 2), options)


def test_hyper_tile_attends_within_tiles(model):
    [changed] = HyperTile().patch(model, 32, 1, 0, False)  # 32 pixels: 4 cells
    x = tokens(8)
    shape, found = attention_under(changed, x, 8)
    assert shape == (8, 16, 8)
    grid = x.reshape(2, 8, 8, 8)
    wanted = torch.empty_like(grid)
    for top in (0, 4):
        for left in (0, 4):
            tile = grid[:, top : top + 4, left : left + 4].reshape(2, 16, 8)
            wanted[:, top : top + 4, left : left + 4] = attend(tile, tile, tile, 2).reshape(2, 4, 4, 8)
    close(found, wanted.reshape(2, 64, 8))


def test_token_merging_asks_once_for_equal_tokens(model):
    [changed] = TomePatchModel().patch(model, 0.5)
    cells = tokens(4).reshape(2, 4, 4, 8).repeat_interleave(2, 1).repeat_interleave(2, 2).reshape(2, 64, 8)
    shape, found = attention_under(changed, cells, 8)
    assert shape == (2, 32, 8)
    close(found, attend(cells, cells, cells, 2))


def test_token_merging_answers_merged_tokens_alike(model):
    [changed] = TomePatchModel().patch(model, 0.5)
    found = attention_under(changed, tokens(8), 8)[1]
    for row in found:
        assert len(row.unique(dim=0)) == 32


@pytest.mark.parametrize(
    ("same", "other"),
    [
        (lambda model: TomePatchModel().patch(model, 0.0)[0], lambda model: TomePatchModel().patch(model, 0.5)[0]),
        (
            lambda model: HyperTile().patch(model, 256, 2, 0, False)[0],
            lambda model: HyperTile().patch(model, 32, 1, 1, False)[0],
        ),
    ],
    ids=["ToMe", "HyperTile"],
)
def test_the_network_answers_otherwise_only_where_something_is_cut_or_merged(model, same, other):
    x, wanted = picture(), answer(model, picture(), "positive")
    found = [
        answer(model, x, "positive", **changed.model_options["transformer_options"])
        for changed in (same(model), other(model))
    ]
    close(found[0], wanted)
    assert bool(found[1].isfinite().all())
    assert float((found[1] - wanted).abs().max()) > 1e-3
