"""Answers kept from step to step: when the model is asked again, and what is answered in between."""

from __future__ import annotations

import logging

import pytest
import torch

from executor.inference.checkpoint import load_checkpoint
from executor.inference.memory import Memory
from executor.inference.sample import sample
from executor.inference.step_cache import GuidedCache, NetworkCache
from nodes.builtin.guidance_patches import EasyCache, LazyCache
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

RANGE = {"start_sigma": 100.0, "end_sigma": 0.0}


def asked(cache, inputs, options=None):
    """The inputs that reach a network which answers with twice its input plus one, and all answers."""
    reached, answers = [], []

    def network(x, timestep, transformer_options):
        reached.append(float(x.mean()))
        return x[:, :1] * 2 + 1

    for value in inputs:
        x = torch.full((1, 2, 1, 1), float(value))
        given = {"sigmas": torch.ones(1), "cond_or_uncond": [0], **(options or {})}
        answers.append(float(cache.call(network, x, torch.ones(1), transformer_options=given)))
    return reached, answers


def test_a_small_step_is_answered_by_the_last_change():
    reached, answers = asked(NetworkCache(threshold=0.2, **RANGE), [10, 9, 8.8])
    assert reached == [10, 9]
    assert answers[-1] == pytest.approx(8.8 + (19 - 9))


def test_errors_add_up_until_the_network_is_asked_again():
    # each step moves the answer by about 0.4 of 19: two percent, so the fourth is past 7 percent
    reached, _ = asked(NetworkCache(threshold=0.07, **RANGE), [10, 9, 8.8, 8.6, 8.4, 8.2])
    assert reached == pytest.approx([10, 9, 8.2], rel=1e-6)


def test_a_threshold_of_zero_asks_at_every_step():
    assert asked(NetworkCache(threshold=0.0, **RANGE), [10, 9, 9, 9])[0] == [10, 9, 9, 9]


def test_nothing_is_reused_outside_its_noise_levels():
    cache = NetworkCache(threshold=3.0, start_sigma=0.5, end_sigma=0.1)
    assert len(asked(cache, [10, 9, 8.9, 8.8])[0]) == 4


def test_groups_of_rows_are_kept_apart():
    cache = NetworkCache(threshold=3.0, **RANGE)
    asked(cache, [10, 9])
    assert len(asked(cache, [8.9], {"cond_or_uncond": [1]})[0]) == 1
    assert len(asked(cache, [8.9], {"cond_or_uncond": [0]})[0]) == 0


def test_a_sampling_begins_without_the_last_ones_answers():
    cache = NetworkCache(threshold=3.0, **RANGE)
    cache.outer(lambda: asked(cache, [10, 9, 8.9]))
    assert len(asked(cache, [8.8])[0]) == 1


def test_guided_answers_keep_their_slope():
    cache, calls = GuidedCache(threshold=3.0, **RANGE), []

    def predict(x, sigmas):
        calls.append(x)
        return x - sigmas * 4.0

    steps = [cache.call(predict, torch.full((1, 1, 1, 1), x), torch.tensor([s])) for x, s in ((9.0, 2.0), (5.0, 1.0))]
    assert [float(step) for step in steps] == [1.0, 1.0]
    assert float(cache.call(predict, torch.full((1, 1, 1, 1), 3.0), torch.tensor([0.5]))) == 1.0
    assert len(calls) == 2


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A checkpoint of few weights."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    sizes = TinySizes(vocabulary=9, widths=(8, 16), attends=(True, True), text_layers=1, vae_widths=(4, 4))
    return load_checkpoint(write_tiny_checkpoint(path, sizes), Memory(mode="cpu"))


def drawn(opened, model, calls):
    """Latents of eight steps; `calls` counts the network's."""
    counted = model.clone()
    counted.set_model_unet_function_wrapper(lambda apply, given: apply(given["input"], given["timestep"], **given["c"]))
    hook = model.model.diffusion_model.register_forward_hook(lambda *ignored: calls.append(1))
    width = opened.model.model.text_width
    sides = {name: [[torch.full((1, 3, width), value), {}]] for name, value in (("positive", 0.5), ("negative", -0.5))}
    options = {"seed": 3, "steps": 12, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
    try:
        return sample(counted, {"samples": torch.zeros(1, 4, 4, 4)}, **options, **sides)
    finally:
        hook.remove()


@pytest.mark.parametrize("node", [EasyCache, LazyCache])
def test_a_cached_model_is_asked_less_often_and_draws_nearly_the_same(opened, node, caplog):
    caplog.set_level(logging.INFO)
    plain, cached, exact = [], [], []
    expected = drawn(opened, opened.model, plain)
    [changed] = node().patch(opened.model, 0.1, 0.0, 1.0, True)
    near = drawn(opened, changed, cached)
    [never] = node().patch(changed, 0.0, 0.0, 1.0, False)  # takes the other one's place
    assert torch.equal(drawn(opened, never, exact), expected)
    assert len(exact) == len(plain) == 12
    assert 2 <= len(cached) < 10
    assert f"{12 - len(cached)} of 12 calls were not evaluated" in caplog.text
    assert float((near - expected).norm() / expected.norm()) < 0.2
