"""Patches come off without a trace, whatever happened before (reference/model_layer.md)."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.memory import Memory
from executor.inference.patching import WeightPatch, calculate_weight
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

KEY = "diffusion_model.input_blocks.0.0.weight"
OTHER = "diffusion_model.out.2.bias"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A checkpoint of few weights."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    sizes = TinySizes(vocabulary=9, widths=(8,), attends=(True,), text_layers=1, vae_widths=(4, 4))
    return load_checkpoint(write_tiny_checkpoint(path, sizes), Memory(mode="cpu"))


def weight(checkpoint, key=KEY):
    return checkpoint.model.model.part.module.state_dict()[key.removeprefix("diffusion_model.")]


def patched(checkpoint, seed):
    handle = checkpoint.model.clone()
    generator = torch.Generator().manual_seed(seed)
    deltas = {key: (torch.randn(weight(checkpoint, key).shape, generator=generator),) for key in (KEY, OTHER)}
    handle.add_patches(deltas if seed % 2 else {KEY: deltas[KEY]}, 0.3)
    return handle


actions = st.lists(st.sampled_from(["a", "b", "plain", "unload", "release", "unpatch", "c"]), max_size=12)


@given(actions)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_patching_and_unloading_leaves_every_weight_as_in_the_file(opened, order):
    part = opened.model.model.part
    handles = {"a": patched(opened, 1), "b": patched(opened, 2), "plain": opened.model.clone()}
    handles["c"] = handles["a"].clone()
    handles["c"].add_patches({KEY: (torch.ones(weight(opened).shape),)}, -1.5)
    wanted = {}
    for action in order:
        match action:
            case "unload":
                opened.model.memory.unload_all()
            case "release":
                part.release()
            case "unpatch":
                opened.model.unpatch_model()
            case name:
                handles[name].load()
                seen = weight(opened).clone()
                assert torch.equal(wanted.setdefault(name, seen), seen)
    opened.model.load()
    for key, pristine in part.weights.items():
        assert torch.equal(part.module.state_dict()[key], pristine.float()), key
    part.release()
    for key, pristine in part.weights.items():
        assert part.module.state_dict()[key].data_ptr() == pristine.data_ptr(), key


def test_a_patched_weight_is_the_pristine_one_plus_delta_rounded_once(opened):
    handle = opened.model.clone()
    delta = torch.randn(weight(opened).shape)
    handle.add_patches({KEY: (delta,)}, 0.5)
    handle.load()
    pristine = opened.model.model.part.weights["input_blocks.0.0.weight"]
    torch.testing.assert_close(weight(opened), pristine.float() + 0.5 * delta, rtol=0, atol=1e-6)
    assert torch.equal(handle.patched_weights()["input_blocks.0.0.weight"], (pristine.float() + 0.5 * delta).half())
    opened.model.load()


def test_clones_share_weights_and_not_patches(opened):
    handle = patched(opened, 1)
    assert handle.clone().clone_has_same_weights(handle)
    assert not opened.model.clone_has_same_weights(handle)
    assert handle.is_clone(opened.model)


def test_add_patches_tells_what_exists(opened):
    handle = opened.model.clone()
    delta = (torch.zeros(1),)
    part = ("diffusion_model.out.2.bias", (0, 0, 1))
    assert handle.add_patches({part: delta, "diffusion_model.nowhere.weight": delta, "out.2.bias": delta}) == [part]


def test_a_patch_of_a_part_leaves_the_rest():
    base = torch.zeros(4, 2)
    patch = WeightPatch(2.0, (torch.ones(1, 2),), 1.0, (0, 1, 1), None)
    assert calculate_weight([patch], base.clone(), "k").sum(dim=1).tolist() == [0, 4, 0, 0]


def test_a_function_changes_the_delta_and_a_strength_the_model():
    patch = WeightPatch(1.0, (torch.ones(2),), 0.5, None, lambda delta: delta * 10)
    assert calculate_weight([patch], torch.full((2,), 4.0), "k").tolist() == [12, 12]


def test_a_patch_that_does_not_fit_is_left_out(caplog):
    patch = WeightPatch(1.0, (torch.ones(3),), 1.0, None, None)
    assert calculate_weight([patch], torch.ones(2), "some.key").tolist() == [1, 1]
    assert "does not fit some.key" in caplog.text


def test_another_models_key_patches_merge(opened):
    first, second = opened.model.clone(), patched(opened, 1)
    first.add_patches(second.get_key_patches("diffusion_model."), 0.25, 0.75)
    mine, theirs = opened.model.patched_weights(), second.patched_weights()
    key = KEY.removeprefix("diffusion_model.")
    torch.testing.assert_close(
        first.patched_weights()[key], 0.75 * mine[key] + 0.25 * theirs[key], rtol=2e-3, atol=2e-3
    )


def test_an_adapter_of_a_pack_calculates_the_weight_itself():
    class Doubling:
        def calculate_weight(self, weight, key, strength, strength_model, offset, function, dtype, original):
            return weight * 2 * strength

    assert calculate_weight([(0.5, Doubling(), 1.0, None, None)], torch.ones(2), "k").tolist() == [1, 1]
