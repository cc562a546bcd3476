"""Hooks as packs make and attach them (reference/custom_node_surface.md, comfy.hooks)."""

from __future__ import annotations

import pytest
import torch

from tests.unit.nodes.compat.conftest import Host
from tests.unit.nodes.compat.test_sampling import Bench, bench

__all__ = ["bench"]  # the fixture

KEY = "diffusion_model.out.2.weight"


def under(bench: Bench, group: object) -> torch.Tensor:
    """What is drawn with both sides under hooks."""
    attach = bench.host("comfy.hooks").set_hooks_for_conditioning
    sides = attach(bench.positive, group), attach(bench.negative, group)
    return Bench(bench.host, bench.model, *sides, bench.latent).weft()


def loaded(bench: Bench, delta: torch.Tensor, strength: float) -> torch.Tensor:
    """What is drawn with a weight changed for all."""
    model = bench.model.clone()
    model.add_patches({KEY: (delta,)}, strength)
    return Bench(bench.host, model, bench.positive, bench.negative, bench.latent).weft()


def delta_of(bench: Bench) -> torch.Tensor:
    return torch.ones_like(bench.model.named_weights()[KEY]) * 0.1


def test_a_hook_of_a_packs_own_kind_changes_weights(bench: Bench):
    hooks, delta = bench.host("comfy.hooks"), delta_of(bench)

    class Own(hooks.Hook):
        def __init__(self):
            super().__init__(hook_type=hooks.EnumHookType.Weight, hook_scope=hooks.EnumHookScope.HookedOnly)

        def add_hook_patches(self, model, model_options, target_dict, registered):
            assert target_dict["target"] is hooks.EnumWeightTarget.Model
            return bool(model.add_hook_patches(self, {KEY: (delta,)}, 0.5))

    group = hooks.HookGroup()
    group.add(Own())
    assert torch.equal(under(bench, group), loaded(bench, delta, 0.5))


def test_patches_that_are_ready_need_no_file(bench: Bench):
    hooks, delta = bench.host("comfy.hooks"), delta_of(bench)
    hook = hooks.WeightHook(strength_model=0.5, strength_clip=0.0)
    hook.weights, hook.need_weight_init = {KEY: (delta,)}, False
    group = hooks.HookGroup()
    group.add(hook)
    assert torch.equal(under(bench, group), loaded(bench, delta, 0.5))


def test_a_packs_lora_and_model_become_hooks(bench: Bench):
    hooks = bench.host("comfy.hooks")
    lora = {"lora_unet_out_2.diff": delta_of(bench)}
    assert torch.equal(under(bench, hooks.create_hook_lora(lora, 0.5, 0.0)), loaded(bench, delta_of(bench), 0.5))
    weights = hooks.get_patch_weights_from_model(bench.model)
    same = under(bench, hooks.create_hook_model_as_lora(weights, None, 1.0, 0.0))
    torch.testing.assert_close(same, bench.weft(), rtol=0, atol=1e-5)
    assert hooks.get_patch_weights_from_model(None) is None


def test_a_model_tells_when_hooks_come_into_force(bench: Bench):
    hooks, extension, told = bench.host("comfy.hooks"), bench.host("comfy.patcher_extension"), []
    kind = extension.CallbacksMP.ON_APPLY_HOOKS
    bench.model.add_callback_with_key(kind, "pack", lambda model, group: told.append(group))
    group = hooks.create_hook_lora({"lora_unet_out_2.diff": delta_of(bench)}, 1.0, 0.0)
    under(bench, group)
    assert told == [group]


def test_a_model_is_put_under_hooks_and_back(bench: Bench):
    hooks, model = bench.host("comfy.hooks"), bench.model
    group = hooks.create_hook_lora({"lora_unet_out_2.diff": delta_of(bench)}, 1.0, 0.0)
    model.load()
    before = model.model.diffusion_model.out[2].weight
    model.set_hook_mode(hooks.EnumHookMode.MinVram)
    model.register_all_hook_patches(group, hooks.create_target_dict(hooks.EnumWeightTarget.Model))
    model.patch_hooks(group)
    assert not torch.equal(model.model.diffusion_model.out[2].weight, before)
    model.unpatch_hooks()
    assert torch.equal(model.model.diffusion_model.out[2].weight, before)
    model.clean_hooks()
    assert not model.hook_patches


@pytest.mark.parametrize(("reverse", "wanted"), [(False, [0.0, 0.25, 1.0]), (True, [1.0, 0.25, 0.0])])
def test_strengths_are_interpolated(host: Host, reverse, wanted):
    method = host("comfy.hooks").InterpolationMethod
    weights = method.get_weights(0.0, 1.0, 3, method.EASE_IN, reverse=reverse)
    assert weights.tolist() == pytest.approx(wanted)


def test_keyframes_are_put_on_a_group(host: Host):
    hooks = host("comfy.hooks")
    keyframes = hooks.HookKeyframeGroup()
    keyframes.add(hooks.HookKeyframe(strength=0.25, start_percent=0.0, guarantee_steps=1))
    group = hooks.create_hook_lora({}, 2.0, 1.0)
    group.set_keyframes_on_hooks(keyframes)
    [hook] = group.hooks
    assert (hook.strength, hook.strength_model, hook.strength_clip) == (0.25, 0.5, 0.25)
    assert group.contains(hook)
    assert group.get_type(hooks.EnumHookType.Weight) == [hook]
    group.remove(hook)
    assert not group.hooks
