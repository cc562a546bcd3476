"""What packs put around a sampling or in the place of its parts, and the conditions that they are handed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from executor.context import PreviewChoice
from tests.unit.nodes.compat.conftest import Host
from tests.unit.nodes.compat.test_sampling import SEED, STEPS, Bench, bench

__all__ = ["bench"]  # the fixture


def wrap(bench: Bench, kind: str, function: object) -> None:
    extension = bench.host("comfy.patcher_extension")
    bench.model.add_wrapper_with_key(getattr(extension.WrappersMP, kind), "pack", function)


def test_a_wrapper_around_the_sampler_gets_what_it_samples_with(bench: Bench):
    before, seen = bench.weft(), []

    def around(executor, guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar):
        options = extra_args["model_options"]["transformer_options"]
        seen.append(
            (len(sigmas), extra_args["seed"], noise.shape, latent_image.any().item(), "sample_sigmas" in options)
        )
        return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar) * 2

    wrap(bench, "SAMPLER_SAMPLE", around)
    scale = bench.model.latent_format
    assert torch.allclose(bench.weft(), scale.process_out(scale.process_in(before) * 2), atol=1e-5)
    assert seen == [(STEPS + 1, SEED, torch.Size((1, 4, 8, 8)), False, True)]


def test_a_wrapper_around_the_sampler_sees_each_step_and_may_change_the_sigmas(bench: Bench):
    steps = []

    def around(executor, guider, sigmas, extra_args, callback, *more):
        def told(step, denoised, x, total):
            steps.append((step, total))
            callback(step, denoised, x, total)

        return executor(guider, sigmas[1:], extra_args, told, *more)

    wrap(bench, "SAMPLER_SAMPLE", around)
    bench.weft()
    assert steps == [(step, STEPS - 1) for step in range(STEPS - 1)]


def test_the_sampler_is_the_wrapper_s_object(bench: Bench):
    names = []

    def around(executor, *given):
        names.append(executor.class_obj.name)
        return executor(*given)

    wrap(bench, "SAMPLER_SAMPLE", around)
    bench.weft("heun")
    assert names == ["heun"]


def test_a_wrapper_around_getting_ready_may_hand_on_another_model(bench: Bench):
    seen, other = [], bench.model.clone()
    other.set_model_sampler_cfg_function(lambda args: args["cond"] * 0)

    def around(executor, model, noise_shape, conds, model_options=None):
        seen.append((model is bench.model, tuple(noise_shape), sorted(conds)))
        return executor(model, noise_shape, conds, model_options)

    wrap(bench, "PREPARE_SAMPLING", around)
    bench.weft()
    assert seen == [(True, (1, 4, 8, 8), ["negative", "positive"])]


@pytest.mark.parametrize("kind", ["PREDICT_NOISE", "CALC_COND_BATCH", "APPLY_MODEL", "DIFFUSION_MODEL"])
def test_wrappers_of_each_step_are_called(bench: Bench, kind: str):
    calls = []

    def around(executor, *given, **more):
        calls.append(kind)
        return executor(*given, **more)

    before = bench.weft()
    wrap(bench, kind, around)
    assert torch.equal(bench.weft(), before)
    assert len(calls) == STEPS


def test_callbacks_of_a_sampling_come_in_order(bench: Bench):
    extension, heard = bench.host("comfy.patcher_extension"), []
    moments = ("ON_LOAD", "ON_INJECT_MODEL", "ON_PRE_RUN", "ON_PREPARE_STATE", "ON_CLEANUP", "ON_EJECT_MODEL")
    for moment in moments:
        kind = getattr(extension.CallbacksMP, moment)
        bench.model.add_callback(kind, lambda patcher, *given, moment=moment: heard.append(moment))
    bench.weft()
    assert heard == [*moments[:3], *["ON_PREPARE_STATE"] * STEPS, *moments[4:]]


def test_a_detached_model_calls_back(bench: Bench):
    heard, extension = [], bench.host("comfy.patcher_extension")
    bench.model.add_callback(extension.CallbacksMP.ON_DETACH, lambda patcher, unpatch_all: heard.append(unpatch_all))
    bench.model.detach()
    assert heard == [True]


# ---------------------------------------------------------------- conditions


def test_a_replaced_guidance_reads_and_changes_conditions(bench: Bench):
    samplers = bench.host("comfy.samplers")
    conds = bench.host("comfy.conds")
    original, seen = samplers.sampling_function, []

    def louder(model, x, timestep, uncond, cond, cond_scale, model_options=None, seed=None):
        changed = [each.copy() for each in cond]
        for each in changed:
            seen.append(
                (type(each["model_conds"]["c_crossattn"]) is conds.CONDCrossAttn, each["strength"], "area" in each)
            )
            each["model_conds"] = {**each["model_conds"]}
            each["model_conds"]["c_crossattn"] = conds.CONDCrossAttn(uncond[0]["model_conds"]["c_crossattn"].cond)
        return original(model, x, timestep, uncond, changed, cond_scale, model_options=model_options, seed=seed)

    samplers.sampling_function = louder
    changed = bench.weft()
    samplers.sampling_function = original
    bench.positive = bench.negative
    assert torch.allclose(changed, bench.weft(), atol=1e-5)
    assert seen == [(True, 1.0, False)] * STEPS


def test_conditions_handed_back_unchanged_give_the_same(bench: Bench):
    before = bench.weft()
    mask = torch.zeros(1, 8, 8)
    mask[..., :4] = 1.0
    node_helpers = bench.host("node_helpers")
    bench.positive = node_helpers.conditioning_set_values(
        bench.positive, {"mask": mask, "mask_strength": 0.5, "start_percent": 0.1, "area": (4, 4, 2, 2)}
    ) + bench.positive  # fmt: skip
    with_place = bench.weft()

    def around(executor, model, conds, x_in, timestep, model_options):
        return executor(model, [[dict(each) for each in side] for side in conds], x_in, timestep, model_options)

    wrap(bench, "CALC_COND_BATCH", around)
    assert torch.equal(bench.weft(), with_place)
    assert not torch.equal(before, with_place)


def test_a_side_of_nothing_answers_zero(bench: Bench):
    samplers, answers = bench.host("comfy.samplers"), []

    def guided(model, x, timestep, uncond, cond, cond_scale, model_options=None, seed=None):
        answers[:] = samplers.calc_cond_batch(model, [cond, None], x, timestep, model_options)
        return answers[0]

    samplers.sampling_function = guided
    bench.weft()
    assert (answers[0].any().item(), answers[1].any().item()) == (True, False)


def test_conditions_differ_even_where_they_hold_the_same(bench: Bench):
    seen = []

    def guided(model, x, timestep, uncond, cond, cond_scale, model_options=None, seed=None):
        seen.append((cond[0] == uncond[0], cond[0]["uuid"] == uncond[0]["uuid"], cond[0].get("none"), bool(cond[0])))
        return x

    bench.host("comfy.samplers").sampling_function = guided
    bench.weft()
    assert set(seen) == {(False, False, None, True)}


# ---------------------------------------------------------------- attention and previews


def test_a_replaced_attention_reaches_the_core_until_it_is_put_back(bench: Bench):
    attention, calls = bench.host("comfy.ldm.modules.attention"), []
    before, original = bench.weft(), attention.optimized_attention

    def counted(q, k, v, heads, mask=None, attn_precision=None, skip_reshape=False, **more):
        calls.append(heads)
        return original(q, k, v, heads, mask, attn_precision=attn_precision, skip_reshape=skip_reshape, **more)

    attention.optimized_attention = counted
    assert torch.equal(bench.weft(), before)
    made = len(calls)
    attention.optimized_attention = original
    bench.weft()
    assert made == len(calls) > 0


def test_attention_answers_in_the_shape_that_is_asked_for(host: Host):
    attention = host("comfy.ldm.modules.attention")
    q = torch.rand(2, 3, 8)
    flat = attention.optimized_attention(q, q, q, 2)
    split = q.reshape(2, 3, 2, 4).transpose(1, 2)
    assert torch.allclose(attention.optimized_attention(split, split, split, 2, skip_reshape=True), flat)
    kept = attention.optimized_attention_masked(q, q, q, 2, torch.ones(3, 3).bool(), skip_output_reshape=True)
    assert torch.allclose(kept.transpose(1, 2).flatten(2), flat)


def test_an_assigned_preview_method_holds_between_prompts(host: Host):
    cli_args = host("comfy.cli_args")
    cli_args.args.preview_method = cli_args.LatentPreviewMethod.NoPreviews
    assert host.services.previews.method == "none"
    host("latent_preview").set_preview_method("taesd")
    assert cli_args.args.preview_method is cli_args.LatentPreviewMethod.TAESD
    host("latent_preview").set_preview_method(None)
    assert host.services.previews.method == "auto"


def test_an_assigned_preview_method_is_that_of_the_prompt_that_runs(host: Host):
    running = PreviewChoice("auto")
    object.__setattr__(host.services, "line", SimpleNamespace(previews=running))
    cli_args = host("comfy.cli_args")
    cli_args.args.preview_method = cli_args.LatentPreviewMethod.TAESD
    assert (running.method, host.services.previews.method) == ("taesd", "auto")
