"""Nodes of hooks: what they make and attach."""

import pytest
import torch
from safetensors.torch import save_file

from executor.errors import ModelFileError
from executor.inference.conditioning_hooks import (
    HookGroup,
    WeightHook,
    create_hook_lora,
    create_hook_model_as_lora,
)
from executor.inference.hook_conditioning import set_conds_props
from executor.inference.memory import Memory
from nodes.builtin import hooked_conditioning as attach
from nodes.builtin import hooks as make
from nodes.builtin.context_windows import ContextWindowsManual
from nodes.builtin.sampling import KSampler
from nodes.builtin.video_model import ImageOnlyCheckpointLoader, SVD_img2vid_Conditioning
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint
from tests.tiny_video import write_tiny_video

LORA = {f"lora_unet_out_2.lora_{side}.weight": torch.ones(2, 2) for side in ("up", "down")}
RANGE = (0.25, 0.5)


def cond(value):
    return [[torch.full((1, 2, 3), float(value)), {}]]


def values(conditioning):
    return [float(tensor.flatten()[0]) for tensor, _ in conditioning]


def group():
    return create_hook_lora(LORA, 1.0, 1.0)


@pytest.fixture
def files(place):
    """A LoRA and a checkpoint to choose from."""
    place.memory = Memory(mode="cpu")
    models = place.settings.base_directory / "models"
    for folder in ("loras", "checkpoints"):
        (models / folder).mkdir(parents=True, exist_ok=True)
    save_file(LORA, models / "loras" / "style.safetensors")
    sizes = TinySizes(vocabulary=9, widths=(8,), attends=(True,), context=8, text_layers=1, vae_widths=(4, 4))
    write_tiny_checkpoint(models / "checkpoints" / "other.safetensors", sizes)
    return models


def test_a_lora_file_becomes_a_hook(files):
    [found] = make.CreateHookLora().create_hook("style.safetensors", 0.5, 0.25)
    [hook] = found
    assert isinstance(hook, WeightHook)
    assert (hook.strength_model, hook.strength_clip) == (0.5, 0.25)
    assert hook.weights.keys() == LORA.keys()


def test_hooks_before_come_first(files):
    before = group()
    [found] = make.CreateHookLoraModelOnly().create_hook_model_only("style.safetensors", 0.5, before)
    assert next(iter(found)) is next(iter(before))
    assert (len(found), len(before)) == (2, 1)
    assert list(found)[1].strength_clip == 0.0


@pytest.mark.parametrize("node", [make.CreateHookLora, make.CreateHookModelAsLora])
def test_strengths_of_zero_read_no_file(node):
    before = group()
    assert node().create_hook("nowhere", 0.0, 0.0, before) == (before,)
    assert len(node().create_hook("nowhere", 0.0, 0.0)[0]) == 0


def test_a_file_that_is_no_lora_is_refused_at_once(files):
    save_file({"some.weight": torch.ones(2)}, files / "loras" / "other.safetensors")
    with pytest.raises(ModelFileError, match="a LoRA file fits here"):
        make.CreateHookLora().create_hook("other.safetensors", 1.0, 1.0)


def test_a_checkpoint_becomes_a_hook_of_its_weights(files):
    [found] = make.CreateHookModelAsLora().create_hook("other.safetensors", 1.0, 0.5)
    [hook] = found
    assert "diffusion_model.out.2.weight" in hook.weights
    assert any(name.startswith("clip_l.transformer.") for name in hook.weights_clip)
    [alone] = make.CreateHookModelAsLoraModelOnly().create_hook_model_only("other.safetensors", 1.0)
    assert next(iter(alone)).strength_clip == 0.0


def test_keyframes_are_added_one_by_one():
    [first] = make.CreateHookKeyframe().create_hook_keyframe(0.5, 0.0)
    [both] = make.CreateHookKeyframe().create_hook_keyframe(1.0, 0.4, first)
    assert [(each.strength, each.start_percent) for each in both.keyframes] == [(0.5, 0.0), (1.0, 0.4)]
    assert len(first.keyframes) == 1


def test_keyframes_go_from_strength_to_strength():
    [made] = make.CreateHookKeyframesInterpolated().create_hook_keyframes(0.0, 1.0, "linear", 0.0, 0.5, 3)
    found = [(each.strength, each.start_percent) for each in made.keyframes]
    assert found == [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5)]


@pytest.mark.parametrize(
    ("given", "wanted"), [([1, 0.5], [(1.0, 0.2), (0.5, 0.6)]), (0.3, [(0.3, 0.2)]), ([], []), ((2.0,), [(2.0, 0.2)])]
)
def test_keyframes_of_numbers(given, wanted):
    [made] = make.CreateHookKeyframesFromFloats().create_hook_keyframes(given, 0.2, 0.6)
    assert [(each.strength, each.start_percent) for each in made.keyframes] == wanted


def test_words_are_no_strengths():
    with pytest.raises(ValueError, match="'floats_strength': numbers are expected, not str"):
        make.CreateHookKeyframesFromFloats().create_hook_keyframes("loud", 0.2, 0.6)


def test_keyframes_are_set_on_a_copy_of_the_hooks():
    before = group()
    [keyframes] = make.CreateHookKeyframe().create_hook_keyframe(0.5, 0.0)
    [changed] = make.SetHookKeyframes().set_hook_keyframes(before, keyframes)
    assert next(iter(changed)).strength_model == 0.5
    assert next(iter(before)).strength_model == 1.0
    assert make.SetHookKeyframes().set_hook_keyframes(before) == (before,)


def test_hooks_are_combined_each_once():
    first, second = group(), group()
    [found] = make.CombineHooks2().combine_hooks(hooks_A=first, hooks_B=second)
    assert list(found) == [*first, *second]
    [found] = make.CombineHooks8().combine_hooks(hooks_A=first, hooks_C=first, hooks_H=second)
    assert list(found) == [*first, *second]
    assert list(make.CombineHooks4().combine_hooks()[0]) == []


def test_the_parts_around_a_range():
    assert attach.ConditioningTimestepsRange().create_range(*RANGE) == (RANGE, (0.0, 0.25), (0.5, 1.0))


def test_properties_of_one_conditioning():
    hooks, mask = HookGroup(), torch.ones(1, 8, 8)
    [changed] = attach.ConditioningSetProperties().set_properties(cond(1), 0.5, "default", mask, hooks, RANGE)
    options = changed[0][1]
    assert options["hooks"] is hooks
    assert (options["mask_strength"], options["set_area_to_bounds"]) == (0.5, False)
    assert (options["start_percent"], options["end_percent"]) == RANGE


def test_new_conditioning_comes_behind():
    hooks = HookGroup()
    node = attach.ConditioningSetPropertiesAndCombine()
    [both] = node.set_properties(cond(1), cond(2), 1.0, "default", hooks=hooks)
    assert values(both) == [1, 2]
    assert [entry[1].get("hooks") for entry in both] == [None, hooks]


def test_a_default_is_marked():
    hooks = HookGroup()
    [both] = attach.ConditioningSetDefaultCombine().set_default_and_combine(cond(1), cond(2), hooks)
    assert [entry[1] for entry in both] == [{}, {"hooks": hooks, "default": True}]


def test_pairs_keep_their_sides():
    first, second = attach.PairConditioningCombine().combine(cond(1), cond(2), cond(3), cond(4))
    assert (values(first), values(second)) == ([1, 3], [2, 4])
    node = attach.PairConditioningSetPropertiesAndCombine()
    first, second = node.set_properties(cond(1), cond(2), cond(3), cond(4), 1.0, "default", timesteps=RANGE)
    assert (values(first), values(second)) == ([1, 3], [2, 4])
    assert [entry[1].get("end_percent") for entry in first] == [None, 0.5]
    first, second = attach.PairConditioningSetProperties().set_properties(cond(1), cond(2), 0.5, "default")
    assert first[0][1] == second[0][1] == {"strength": 0.5}
    node = attach.PairConditioningSetDefaultCombine()
    first, second = node.set_default_and_combine(cond(1), cond(2), cond(3), cond(4))
    assert [entry[1].get("default") for entry in second] == [None, True]


def test_a_video_model_draws_under_hooks_and_in_windows(place):
    folder = place.folders.paths("checkpoints")[0]
    folder.mkdir(parents=True, exist_ok=True)
    write_tiny_video(folder / "svd.safetensors")
    place.memory = Memory(torch.device("cpu"))
    model, vision, vae = ImageOnlyCheckpointLoader().load_checkpoint("svd.safetensors")
    sizes = {"width": 32, "height": 32, "motion_bucket_id": 32, "fps": 6, "augmentation_level": 0.0}
    picture = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    positive, negative, latent = SVD_img2vid_Conditioning().encode(vision, picture, vae, video_frames=5, **sizes)
    settings = {"seed": 3, "steps": 2, "cfg": 2.5, "sampler_name": "euler", "scheduler": "karras"}

    def drawn(model, positive, negative):
        [found] = KSampler().sample(model, positive=positive, negative=negative, latent_image=latent, **settings)
        return found["samples"]

    key = "diffusion_model.out.2.weight"
    pristine = model.named_weights()[key]
    other = create_hook_model_as_lora({key: pristine * 2}, {}, 1.0, 0.0)
    under = drawn(model, *set_conds_props([positive, negative], hooks=other))
    changed = model.clone()
    changed.add_patches({key: (pristine,)})
    torch.testing.assert_close(under, drawn(changed, positive, negative), rtol=1e-3, atol=1e-3)
    [cut] = ContextWindowsManual().execute(model, 3, 1, "standard_static", 1, False, "pyramid", 0)
    windowed = drawn(cut, *set_conds_props([positive, negative], hooks=other))
    assert windowed.shape == under.shape
    assert bool(windowed.isfinite().all())
