"""Hooks: exactly the conditionings that have them are evaluated under them, and weights come back bit for bit."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.context import InterruptFlag, RunContext, entered
from executor.errors import Interrupted, NodeInputError
from executor.inference.checkpoint import Checkpoint, load_checkpoint
from executor.inference.conditioning_hooks import (
    AdditionalModelsHook,
    EnumHookMode,
    EnumHookScope,
    HookGroup,
    InjectionsHook,
    ObjectPatchHook,
    TransformerOptionsHook,
    create_hook_lora,
    create_hook_model_as_lora,
)
from executor.inference.conditions import resolve
from executor.inference.control import Control
from executor.inference.denoiser import discrete_v
from executor.inference.denoising import sampling_options
from executor.inference.devices import streamed
from executor.inference.guidance import calc_cond_batch
from executor.inference.guider import BasicGuider, DualGuider, PerpNegGuider
from executor.inference.hook_conditioning import (
    set_conds_props,
    set_default_conds_and_combine,
    set_hooks_for_conditioning,
)
from executor.inference.hook_keyframes import HookKeyframe, HookKeyframeGroup
from executor.inference.lora import apply_lora
from executor.inference.memory import Memory, get_weight
from executor.inference.sample import sample
from executor.inference.samplers import sampler
from executor.inference.weights import WeightFile
from tests.maths.recordings import toy_handle
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

SIZES = TinySizes(vocabulary=9, widths=(8,), attends=(True,), context=8, text_layers=1, vae_widths=(4, 4))
LAYERS = ("input_blocks_0_0", "input_blocks_1_1_transformer_blocks_0_attn2_to_q", "out_2")
GENERATOR = torch.Generator().manual_seed(3)
POSITIVE = [[torch.randn(1, 4, 8, generator=GENERATOR), {}]]
NEGATIVE = [[torch.randn(1, 4, 8, generator=GENERATOR), {}]]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A checkpoint of few weights."""
    return load_checkpoint(
        write_tiny_checkpoint(tmp_path_factory.mktemp("small") / "small.safetensors", SIZES), Memory(mode="cpu")
    )


def weights(opened):
    return opened.model.model.part.weights


def lora(opened, seed=0):
    """Factors for three layers."""
    generator, made = torch.Generator().manual_seed(seed), {}
    for layer in LAYERS:
        key = next(key for key in weights(opened) if key.replace(".", "_") == f"{layer}_weight")
        out, into, *kernel = weights(opened)[key].shape
        made[f"lora_unet_{layer}.lora_up.weight"] = torch.randn(out, 2, *(1 for _ in kernel), generator=generator)
        made[f"lora_unet_{layer}.lora_down.weight"] = 0.2 * torch.randn(2, into, *kernel, generator=generator)
    return made


def loaded(opened, *strengths):
    """The MODEL with LoRAs loaded as by LoraLoader: (seed, strength) each."""
    model = opened.model
    for seed, strength in strengths:
        file = WeightFile(path="style.safetensors", tensors=lora(opened, seed))
        model, _ = apply_lora(file, model, None, strength, 0.0)
    return model


def hooks(opened, seed=0, strength=1.0, keyframes=()):
    group = create_hook_lora(lora(opened, seed), strength, 0.0)
    if keyframes:
        made = HookKeyframeGroup()
        for keyframe in keyframes:
            made.add(HookKeyframe(*keyframe))
        group.set_keyframes_on_hooks(made)
    return group


def draw(model, positive=POSITIVE, negative=NEGATIVE, **changes):
    values = {"seed": 1, "steps": 3, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", **changes}
    return sample(model, {"samples": torch.zeros(1, 4, 4, 8)}, positive=positive, negative=negative, **values)


def hooked(conditioning, group):
    return set_hooks_for_conditioning(conditioning, group)


def assert_pristine(opened):
    part = opened.model.model.part
    for key, weight in part.weights.items():
        assert torch.equal(get_weight(part.module, key), weight.float()), key


def test_hooks_on_both_sides_draw_what_the_loaded_lora_draws(opened):
    group = hooks(opened, strength=0.7)
    under = draw(opened.model, hooked(POSITIVE, group), hooked(NEGATIVE, group))
    assert torch.equal(under, draw(loaded(opened, (0, 0.7))))
    assert not torch.allclose(under, draw(opened.model))


def test_hooks_on_one_side_leave_the_other_as_it_is(opened):
    seen = {}

    def watch(given):
        seen[0], seen[1] = given["cond_denoised"], given["uncond_denoised"]
        seen["x"], seen["sigma"] = given["input"], given["sigma"]
        return given["denoised"]

    model = opened.model.clone()
    model.set_model_sampler_post_cfg_function(watch)
    draw(model, hooked(POSITIVE, hooks(opened)), steps=1)
    x, sigma = seen["x"], seen["sigma"]
    for side, handle in ((0, loaded(opened, (0, 1.0))), (1, opened.model)):
        handle.load()
        context = (POSITIVE, NEGATIVE)[side][0][0]
        wanted = handle.model.apply(x, sigma, context=context)
        torch.testing.assert_close(seen[side], wanted, rtol=1e-6, atol=1e-6)
    assert_pristine_after_load(opened)


def assert_pristine_after_load(opened):
    opened.model.load()
    assert_pristine(opened)


def test_hooks_come_on_top_of_loaded_loras(opened):
    group = hooks(opened, 1, 0.5)
    under = draw(loaded(opened, (0, 0.7)), hooked(POSITIVE, group), hooked(NEGATIVE, group))
    assert torch.equal(under, draw(loaded(opened, (0, 0.7), (1, 0.5))))


def test_hooks_that_are_combined_hold_together(opened):
    group = HookGroup.combine_all_hooks([hooks(opened, 0, 0.4), None, hooks(opened, 1, -0.5)])
    under = draw(opened.model, hooked(POSITIVE, group), hooked(NEGATIVE, group))
    assert torch.equal(under, draw(loaded(opened, (0, 0.4), (1, -0.5))))


def test_a_hook_is_appended_to_those_of_a_conditioning(opened):
    first, second = hooks(opened, 0), hooks(opened, 1)
    both = hooked(hooked(POSITIVE, first), second)[0][1]["hooks"]
    assert list(both) == [*first, *second]
    alone = set_hooks_for_conditioning(hooked(POSITIVE, first), second, append_hooks=False)
    assert alone[0][1]["hooks"] is second
    assert POSITIVE[0][1] == {}


def test_a_keyframes_strength_holds_from_its_time_on(opened):
    steps = []
    keyframes = [(0.0, 0.0, 0), (0.8, 0.5, 0)]
    group = hooks(opened, keyframes=keyframes)

    def watch(given):
        steps.append(get_weight(opened.model.model.part.module, "out.2.weight").clone())
        return given["denoised"]

    model = opened.model.clone()
    model.set_model_sampler_post_cfg_function(watch)
    draw(model, hooked(POSITIVE, group), hooked(NEGATIVE, group), steps=4)
    plain, strong = weights(opened)["out.2.weight"].float(), loaded(opened, (0, 0.8))
    wanted = strong.patch_set().applied("out.2.weight", plain)
    assert [torch.equal(seen, plain) for seen in steps] == [True, True, False, False]
    assert all(torch.equal(seen, wanted) for seen in steps[2:])


def test_a_model_as_lora_at_full_strength_is_that_model(opened):
    other = {name: weight + 0.1 for name, weight in opened.model.named_weights().items()}
    group = create_hook_model_as_lora(other, {}, 1.0, 0.0)
    key = "out.2.weight"
    model = loaded(opened, (0, 0.5))
    with model.loaded_for(torch.Size((1, 4, 4, 8))):
        model.apply_hooks(group)
        found = get_weight(model.model.part.module, key)
        delta = loaded(opened, (0, 0.5)).patch_set().applied(key, weights(opened)[key].float())
        wanted = delta + (other[f"diffusion_model.{key}"].float() - weights(opened)[key].float())
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", EnumHookMode)
@given(order=st.lists(st.sampled_from(["a", "b", "both", "strong", "none", "moved", "error"]), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_hooks_gives_each_its_weights_and_leaves_none(opened, mode, order):
    groups = {"a": hooks(opened, 0, 0.5), "b": hooks(opened, 1, -1.0), "strong": hooks(opened, 0, 3.0), "none": None}
    groups["both"] = groups["a"].clone_and_combine(groups["b"])
    made = {"a": [(0, 0.5)], "b": [(1, -1.0)], "both": [(0, 0.5), (1, -1.0)], "strong": [(0, 3.0)], "none": []}
    model = opened.model.clone()
    model.set_hook_mode(mode)
    part, keys = model.model.part, ("input_blocks.0.0.weight", "out.2.weight", "out.2.bias")

    def run():
        with model.loaded_for(torch.Size((1, 4, 4, 8))):
            for action in order:
                if action == "moved":  # as when memory ran out: its weights lie elsewhere, in another type
                    part.put(streamed(part.placement))
                elif action == "error":
                    raise KeyError("in the middle of a sampling")
                else:
                    model.apply_hooks(groups[action])
                    patches = loaded(opened, *made[action]).patch_set()
                    for key in keys:
                        assert torch.equal(get_weight(part.module, key), part.changed(key, patches)), (action, key)

    if "error" in order:
        with pytest.raises(KeyError):
            run()
    else:
        run()
    for key in keys:
        assert torch.equal(get_weight(part.module, key), part.placed(key))
    assert_pristine_after_load(opened)
    assert model.hook_weights is None
    assert not model.hook_patches


def test_an_interrupt_leaves_pristine_weights(opened):
    flag = InterruptFlag()

    @dataclass
    class Steps:
        def advance(self, node_id, value, total, preview):
            flag.set()

    group = hooks(opened)
    with entered(RunContext(sink=Steps(), interrupt=flag)), pytest.raises(Interrupted):
        draw(opened.model, hooked(POSITIVE, group), hooked(NEGATIVE, group))
    assert_pristine(opened)


def test_an_error_while_weights_are_made_is_mended_by_the_next_use(opened):
    class Once:
        """A change that fails."""

        def calculate_weight(self, *args, **options):
            raise MemoryError("no room")

    model, part = opened.model.clone(), opened.model.model.part
    model.load()
    model.add_patches({"diffusion_model.input_blocks.0.0.weight": (torch.ones(8, 4, 3, 3),)})
    model.add_patches({"diffusion_model.out.2.weight": Once()})
    with pytest.raises(MemoryError):
        model.load()
    assert not torch.equal(
        get_weight(part.module, "input_blocks.0.0.weight"), weights(opened)["input_blocks.0.0.weight"].float()
    )
    opened.model.load()
    assert_pristine(opened)


def test_weights_are_made_once_and_kept_for_the_whole_sampling(opened, monkeypatch):
    opened.model.load()
    made = []
    group, part = hooks(opened), opened.model.model.part
    original = type(part).changed
    monkeypatch.setattr(
        type(part), "changed", lambda self, key, patches: made.append(key) or original(self, key, patches)
    )
    draw(opened.model, hooked(POSITIVE, group), steps=6)
    assert len(made) == len(LAYERS)


def test_passed_strengths_are_forgotten(opened):
    group = hooks(opened, keyframes=[(strength / 8, strength / 8, 0) for strength in range(8)])
    kept = []
    model = opened.model.clone()
    model.set_model_sampler_post_cfg_function(
        lambda given: kept.append(len(model.hook_weights.shelves) if model.hook_weights else 0) or given["denoised"]
    )
    draw(model, hooked(POSITIVE, group), steps=8)
    assert max(kept) == 1


def test_nothing_is_kept_where_memory_is_short(opened, monkeypatch):
    group = hooks(opened)
    opened.model.load()
    monkeypatch.setattr(opened.model.memory, "free", lambda: 0)
    short = draw(opened.model, hooked(POSITIVE, group))
    monkeypatch.undo()
    assert torch.equal(short, draw(opened.model, hooked(POSITIVE, group)))


def test_kept_weights_make_room_for_what_needs_it(opened):
    model, group = opened.model.clone(), hooks(opened)
    with model.loaded_for(torch.Size((1, 4, 4, 8))):
        model.apply_hooks(group)
        [shelf] = model.hook_weights.shelves.values()
        assert shelf.kept
        opened.model.memory.evict(1 << 60)
        assert not shelf.kept
        assert not model.hook_weights.base.kept
        for each in (None, group):
            model.apply_hooks(each)
            patches = loaded(opened, (0, 1.0)).patch_set() if each else opened.model.patch_set()
            found = get_weight(model.model.part.module, "out.2.weight")
            assert torch.equal(found, model.model.part.changed("out.2.weight", patches))
    assert model.model.part.let_go is None


def test_conditionings_under_different_hooks_do_not_share_a_call(opened):
    rows = []
    model = opened.model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, given: (
            rows.append(given["cond_or_uncond"]) or apply(given["input"], given["timestep"], **given["c"])
        )
    )
    first, second = hooks(opened, 0), hooks(opened, 1)
    positive = hooked(POSITIVE, first) + POSITIVE + hooked(POSITIVE, second) + hooked(NEGATIVE, first)
    draw(model, positive, NEGATIVE, steps=1)
    assert rows == [[0, 0], [0, 1], [0]]


def test_hooks_of_strength_zero_share_calls_with_none(opened):
    rows = []
    model = opened.model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply, given: (
            rows.append(given["cond_or_uncond"]) or apply(given["input"], given["timestep"], **given["c"])
        )
    )
    draw(model, hooked(POSITIVE, hooks(opened, keyframes=[(0.0, 0.0)])), NEGATIVE, steps=1)
    assert rows == [[0, 1]]


@pytest.mark.parametrize("kind", ["dual", "nested", "perpneg", "basic"])
def test_every_guider_evaluates_under_hooks(opened, kind):
    def drawn(model, group):
        positive, negative = (hooked(each, group) for each in (POSITIVE, NEGATIVE))
        if kind == "basic":
            guider = BasicGuider(model)
            guider.set_conds(positive)
        elif kind == "perpneg":
            guider = PerpNegGuider(model)
            guider.set_conds(positive, negative, negative)
            guider.set_cfg(3.0, 0.5)
        else:
            guider = DualGuider(model)
            guider.set_conds(positive, negative, negative)
            guider.set_cfg(3.0, 2.0, nested=kind == "nested")
        noise = torch.randn(1, 4, 4, 8, generator=torch.Generator().manual_seed(0))
        sigmas = torch.tensor([5.0, 1.0, 0.0])
        return guider.sample(noise, torch.zeros(1, 4, 4, 8), sampler("euler"), sigmas, seed=1)

    assert torch.equal(drawn(opened.model, hooks(opened)), drawn(loaded(opened, (0, 1.0)), None))


def test_areas_and_controls_work_under_hooks(opened):
    class Brightening(Control):
        def features(self, x_noisy, t, cond, batched_number):
            return {"middle": [x_noisy.new_ones(len(x_noisy), 8, *x_noisy.shape[-2:])]}

    control = Brightening().set_cond_hint(torch.ones(1, 3, 32, 64))
    left = [[POSITIVE[0][0], {"area": (4, 4, 0, 0), "strength": 1.0, "control": control}]]
    group = hooks(opened)
    positive = hooked(left + POSITIVE, group)
    under = draw(opened.model, positive, hooked(NEGATIVE, group))
    assert torch.equal(under, draw(loaded(opened, (0, 1.0)), left + POSITIVE))


def test_a_lora_of_another_model_changes_nothing_and_is_told(opened, caplog):
    foreign = {f"lora_unet_input_blocks_9_9.lora_{side}.weight": torch.ones(2, 2) for side in ("up", "down")}
    under = draw(opened.model, hooked(POSITIVE, create_hook_lora(foreign, 1.0, 1.0)))
    torch.testing.assert_close(under, draw(opened.model), rtol=1e-3, atol=1e-2)  # two calls, not one
    assert caplog.text.count("none of its 1 layers fits this") == 1


def test_a_model_of_other_shapes_changes_nothing_and_is_told(opened, caplog):
    other = {name: weight.flatten()[:1] for name, weight in opened.model.named_weights().items() if weight.numel() > 1}
    under = draw(opened.model, hooked(POSITIVE, create_hook_model_as_lora(other, {}, 1.0, 1.0)))
    torch.testing.assert_close(under, draw(opened.model), rtol=1e-3, atol=1e-2)  # two calls, not one
    assert "model: none of its weights has the shape" in caplog.text


def test_a_model_without_known_weights_is_not_put_under_hooks(opened):
    toy = toy_handle("eps_sd15").model
    x = torch.zeros(1, 4, 4, 8)
    conditions = resolve(hooked([[torch.zeros(1, 3, 4), {}]], hooks(opened)), x.shape, toy.sampling)
    with pytest.raises(NodeInputError, match="cannot be put under hooks"):
        calc_cond_batch(toy, [conditions], x, torch.ones(1), {})


# ---------------------------------------------------------------- other kinds


def patched_calls(opened, scope):
    calls = []
    patch = TransformerOptionsHook(
        {"patches": {"middle_patch": [lambda x, options: calls.append(options["cond_or_uncond"]) or x]}}, scope
    )
    draw(opened.model, hooked(POSITIVE, HookGroup([patch])), steps=1)
    return calls


def test_options_of_a_hook_count_for_its_conditionings_or_for_all(opened):
    assert {tuple(each) for each in patched_calls(opened, EnumHookScope.HookedOnly)} == {(0,)}
    seen = {side for each in patched_calls(opened, EnumHookScope.AllConditioning) for side in each}
    assert seen == {0, 1}


def test_hooks_bring_models_injections_and_objects_for_the_sampling(opened):
    told = []

    class Injection:
        def inject(self, model):
            told.append("in")

        def eject(self, model):
            told.append("out")

    other = opened.model.clone()
    sampling = discrete_v()
    group = HookGroup(
        [
            AdditionalModelsHook([other], "more"),
            InjectionsHook("own", [Injection()]),
            ObjectPatchHook({"model_sampling": sampling}),
        ]
    )
    model = opened.model.under(group)
    assert model.get_additional_models_with_key("more") == [other]
    assert model.model_sampling is sampling
    changed = draw(opened.model, hooked(POSITIVE, group))
    assert told == ["in", "out"]
    assert not torch.equal(changed, draw(opened.model))
    assert opened.model.under(None) is opened.model


# ---------------------------------------------------------------- defaults and properties


def toy_draw(positive, negative):
    values = {"seed": 1, "steps": 3, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    return sample(toy_handle("eps_sd15"), latent, positive=positive, negative=negative, **values)


def entry(value, **options):
    return [[torch.full((1, 3, 4), value), options]]


def test_a_default_fills_what_a_mask_leaves():
    mask = torch.zeros(1, 64, 64)
    mask[..., :32] = 1.0
    own = entry(0.5, mask=mask, mask_strength=1.0)
    [filled] = set_default_conds_and_combine([own], [entry(-1.0)])
    rest = entry(-1.0, mask=1.0 - mask, mask_strength=1.0)
    assert torch.equal(toy_draw(filled, entry(0.1)), toy_draw(own + rest, entry(0.1)))


def test_a_default_counts_at_times_that_no_other_covers():
    own = entry(0.5, start_percent=0.5, end_percent=1.0)
    [filled] = set_default_conds_and_combine([own], [entry(-1.0)])
    before = entry(-1.0, start_percent=0.0, end_percent=0.499)
    assert torch.equal(toy_draw(filled, entry(0.1)), toy_draw(own + before, entry(0.1)))


def test_a_default_is_left_out_where_others_cover_everything():
    [filled] = set_default_conds_and_combine([entry(0.5)], [entry(-1.0)])
    assert torch.equal(toy_draw(filled, entry(0.1)), toy_draw(entry(0.5), entry(0.1)))


def test_properties_are_set_on_new_conditionings_only():
    mask, group = torch.ones(8, 8), HookGroup()
    [changed] = set_conds_props([entry(0.5)], 0.3, "mask bounds", mask, group, (0.1, 0.6))
    options = changed[0][1]
    assert options["mask"].shape == (1, 8, 8)
    wanted = {"mask_strength": 0.3, "set_area_to_bounds": True, "start_percent": 0.1, "end_percent": 0.6}
    assert {name: options[name] for name in wanted} == wanted
    assert options["hooks"] is group


def test_a_strength_without_a_mask_counts_everywhere():
    [changed] = set_conds_props([entry(0.5)], 0.3)
    assert changed[0][1] == {"strength": 0.3}
    assert set_conds_props([entry(0.5)])[0][0][1] == {}


def test_sampling_options_without_hooks_stay(opened):
    assert "hooks" not in sampling_options(opened.model, torch.tensor([1.0, 0.0]))["transformer_options"]
