"""Nodes that change models: what they put where."""

import math

import pytest
import torch
from safetensors.torch import save_file

from executor.errors import NodeInputError
from executor.inference.checkpoint import load_checkpoint
from executor.inference.freeu import FreeU, FreeUV2, damped
from executor.inference.memory import Memory
from nodes.builtin import merging_by_layer as by_layer
from nodes.builtin import model_merging as merging
from nodes.builtin import model_patches, model_sampling
from nodes.builtin.controlnet import (
    ControlNetApply,
    ControlNetApplyAdvanced,
    ControlNetInpaintingAliMamaApply,
    SetUnionControlNetType,
)
from tests.maths.recordings import cases, error, tensors
from tests.tiny_checkpoint import TinySizes, tiny_tensors, write_tiny_checkpoint

MODEL_SAMPLINGS = {name: case["config"][2] for name, case in cases("model_sampling").items() if case["config"][2]}
KEY = "diffusion_model.input_blocks.0.0.weight"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A checkpoint of few weights."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    sizes = TinySizes(vocabulary=9, widths=(8, 16), attends=(True, True), text_layers=1, vae_widths=(4, 4))
    return load_checkpoint(write_tiny_checkpoint(path, sizes), Memory(mode="cpu"))


@pytest.mark.parametrize("name", MODEL_SAMPLINGS)
def test_a_sampling_node_sets_the_recorded_levels(opened, name):
    node, inputs = MODEL_SAMPLINGS[name]
    cls = getattr(model_sampling, node)
    [changed] = getattr(cls(), cls.FUNCTION)(opened.model, **inputs)
    sigmas = changed.get_model_object("model_sampling").sigmas
    found = torch.cat([sigmas[::37], sigmas[-1:]])
    assert error(found, tensors("model_sampling")[f"{name}/table"]) <= 2e-6
    assert opened.model.model_sampling is not changed.model_sampling


def cosine_sigma(time, shift):
    """Nichol & Dhariwal 2021, eq. 17, its signal-to-noise ratio divided by the square of a shift."""
    squares = [math.cos((each + 0.008) / 1.008 * math.pi / 2) ** 2 for each in (time, 0.0)]
    bar = squares[0] / squares[1]
    ratio = bar / (1 - bar) / shift**2
    return ratio**-0.5


@pytest.mark.parametrize("shift", [1.0, 2.0, 4.0])
def test_cascades_levels_are_shifted_cosines(opened, shift):
    [changed] = model_sampling.ModelSamplingStableCascade().patch(opened.model, shift)
    sigmas = changed.get_model_object("model_sampling").sigmas
    for place in (500, 2500, 5000, 7000, 9000):
        assert float(sigmas[place - 1]) == pytest.approx(cosine_sigma(place / 10000, shift), rel=1e-3)
    assert len(opened.model.model_sampling.sigmas) == 1000


def test_playground_has_latents_of_its_own_scale(opened):
    [changed] = model_sampling.ModelSamplingContinuousEDM().patch(opened.model, "edm_playground_v2.5", 80.0, 0.002)
    latent = torch.randn(1, 4, 2, 2)
    inside = changed.latent_format.process_in(latent)
    torch.testing.assert_close(changed.latent_format.process_out(inside), latent, rtol=1e-5, atol=1e-5)
    assert opened.model.latent_format.name == "SD15"


def test_a_model_computes_in_the_type_that_was_set(opened):
    [changed] = model_sampling.ModelComputeDtype().patch(opened.model, "bf16")
    changed.load()
    assert changed.model.diffusion_model.out[2].weight.dtype == torch.bfloat16
    opened.model.load()
    assert opened.model.model.diffusion_model.out[2].weight.dtype == torch.float32


def test_free_u_strengthens_half_of_the_channels_of_its_widths():
    free, x, skip = FreeU(2, (2.0, 3.0), (0.5, 0.25)), torch.ones(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    stronger, weaker = free(x, skip, {})
    assert stronger[0, :, 0, 0].tolist() == [3, 3, 1, 1]
    torch.testing.assert_close(weaker, damped(skip, 0.25))
    assert free(torch.ones(1, 2, 8, 8), skip, {})[1] is skip


def test_free_u_damps_coarse_waves_only():
    even, fine = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    fine[..., ::2] = -1
    torch.testing.assert_close(damped(even, 0.25), even * 0.25)
    torch.testing.assert_close(damped(fine, 0.25), fine, rtol=1e-5, atol=1e-5)


def test_free_u_v2_follows_what_cells_hold():
    x = torch.zeros(1, 4, 1, 2)
    x[..., 1] = 1.0
    assert FreeUV2(1, (3.0, 1.0), (1.0, 1.0)).strengthened(x + 1, 3.0)[0, 0, 0].tolist() == [1.0, 6.0]


def test_a_level_of_one_cell_has_no_differences_and_keeps_its_strength():
    x = torch.randn(2, 4, 1, 1)
    assert torch.equal(FreeUV2(1, (3.0, 1.0), (1.0, 1.0)).strengthened(x, 3.0), x)


@pytest.mark.parametrize("node", [model_patches.FreeU, model_patches.FreeU_V2])
def test_free_u_changes_what_is_drawn(opened, node):
    [changed] = node().patch(opened.model, 1.3, 1.4, 0.9, 0.2)
    x, context = torch.randn(1, 4, 8, 8), torch.randn(1, 7, 32)
    answers = []
    for handle in (opened.model, changed):
        handle.load()
        options = handle.model_options["transformer_options"]
        with torch.no_grad():
            answers.append(handle.model.apply(x, torch.tensor([2.0]), context=context, transformer_options=options))
    assert not torch.allclose(*answers)


def test_free_u_needs_a_unet(opened):
    changed = opened.model.clone()
    plain = torch.nn.Linear(1, 1)

    class Other:
        diffusion_model = plain

    changed.model = Other()
    with pytest.raises(NodeInputError, match="this node changes UNets"):
        model_patches.first_width(changed)


@pytest.mark.parametrize(
    ("node", "names"),
    [
        (model_patches.PerturbedAttentionGuidance, {"scale": 3.0}),
        (model_patches.SelfAttentionGuidance, {"scale": 0.5, "blur_sigma": 2.0}),
        (model_patches.CFGNorm, {"strength": 1.0}),
        (model_patches.CFGZeroStar, {}),
        (model_patches.Mahiro, {}),
    ],
)
def test_guidance_nodes_change_a_clone(opened, node, names):
    [changed] = node().patch(opened.model, **names)
    assert len(changed.model_options["sampler_post_cfg_function"]) == 1
    assert "sampler_post_cfg_function" not in opened.model.model_options


def other_of(opened):
    other = opened.model.clone()
    other.add_patches({KEY: (torch.ones(opened.model.model.part.weights[KEY.removeprefix("diffusion_model.")].shape),)})
    return other


def weights(handle):
    return handle.patched_weights()[KEY.removeprefix("diffusion_model.")].float()


@pytest.mark.parametrize(
    ("node", "inputs", "share", "other_share"),
    [
        (merging.ModelMergeSimple, {"ratio": 0.25}, 0.25, 0.75),
        (merging.ModelMergeSubtract, {"multiplier": 2.0}, 2.0, -2.0),
        (merging.ModelMergeAdd, {}, 1.0, 1.0),
        (merging.ModelMergeBlocks, {"input": 0.5, "middle": 1.0, "out": 1.0}, 0.5, 0.5),
    ],
)
def test_merged_weights_are_the_shares_of_both(opened, node, inputs, share, other_share):
    other = other_of(opened)
    [changed] = node().merge(opened.model, other, **inputs)
    wanted = share * weights(opened.model) + other_share * weights(other)
    torch.testing.assert_close(weights(changed), wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("node", "part"),
    [
        (by_layer.ModelMergeSD1, "input_blocks.0."),
        (by_layer.ModelMergeSD2, "input_blocks.0."),
        (by_layer.ModelMergeSDXL, "input_blocks.0"),
    ],
)
def test_merging_by_layer_gives_each_layer_its_share(opened, node, part):
    other = other_of(opened)
    [changed] = node().merge(opened.model, other, **{**dict.fromkeys(node.LAYERS, 1.0), part: 0.25})
    wanted = 0.25 * weights(opened.model) + 0.75 * weights(other)
    torch.testing.assert_close(weights(changed), wanted, rtol=2e-3, atol=2e-3)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A checkpoint of the same sizes and other weights."""
    path = tmp_path_factory.mktemp("other") / "other.safetensors"
    sizes = TinySizes(vocabulary=9, widths=(8, 16), attends=(True, True), text_layers=1, vae_widths=(4, 4))
    tensors = {name: t.flip(0) if t.is_floating_point() else t for name, t in tiny_tensors(sizes).items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return load_checkpoint(path, Memory(mode="cpu"))


@pytest.mark.parametrize(
    ("merge", "share", "other_share"),
    [
        (lambda one, two: merging.ModelMergeSimple().merge(one.model, two.model, 0.25), 0.25, 0.75),
        (lambda one, two: merging.ModelMergeAdd().merge(one.model, two.model), 1.0, 1.0),
        (lambda one, two: merging.CLIPMergeSimple().merge(one.clip, two.clip, 0.25), 0.25, 0.75),
        (lambda one, two: merging.CLIPMergeAdd().merge(one.clip, two.clip), 1.0, 1.0),
    ],
    ids=["ModelMergeSimple", "ModelMergeAdd", "CLIPMergeSimple", "CLIPMergeAdd"],
)
def test_every_weight_of_two_files_is_mixed(opened, stranger, merge, share, other_share):
    def parts(handle):
        return handle.patched_weights() if hasattr(handle, "patched_weights") else handle.get_sd()

    [merged] = merge(opened, stranger)
    kinds = [(each.model if hasattr(merged, "model_options") else each.clip) for each in (opened, stranger)]
    found, mine, theirs = (
        {name: t.float() for name, t in parts(handle).items() if t.is_floating_point() and "logit" not in name}
        for handle in (merged, *kinds)
    )
    assert found
    for name, weight in found.items():
        torch.testing.assert_close(weight, share * mine[name] + other_share * theirs[name], rtol=2e-3, atol=2e-3)


def test_merged_blocks_have_shares_of_their_own(opened):
    [changed] = merging.ModelMergeBlocks().merge(opened.model, other_of(opened), input=1.0, middle=1.0, out=0.0)
    torch.testing.assert_close(weights(changed), weights(opened.model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("node", "inputs", "factor"),
    [
        (merging.CLIPMergeSimple, {"ratio": 0.5}, 1.0),
        (merging.CLIPMergeSubtract, {"multiplier": 1.0}, 0.0),
        (merging.CLIPMergeAdd, {}, 2.0),
    ],
)
def test_merged_text_encoders_are_the_shares_of_both(opened, node, inputs, factor):
    [changed] = node().merge(opened.clip, opened.clip, **inputs)
    key = "clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"
    torch.testing.assert_close(
        changed.get_sd()[key].float(), factor * opened.clip.get_sd()[key].float(), rtol=2e-3, atol=2e-3
    )


class Steering:
    """A stand-in for a control."""

    concat_mask = False

    def __init__(self):
        self.previous = None
        self.extra_args = {}

    def copy(self):
        other = Steering()
        other.__dict__.update(self.__dict__)
        other.extra_args = dict(self.extra_args)
        return other

    def set_cond_hint(self, hint, strength=1.0, percents=(0.0, 1.0), vae=None, extra_concat=()):
        self.hint, self.strength, self.percents, self.vae, self.beside = hint, strength, percents, vae, extra_concat
        return self

    def set_previous_controlnet(self, control):
        self.previous = control
        return self

    def set_extra_arg(self, name, value):
        self.extra_args[name] = value


def conditioning():
    return [[torch.zeros(1, 2, 4), {}]]


def test_both_sides_share_a_control_and_chain_it_before_older_ones():
    image = torch.rand(1, 8, 8, 3)
    node = ControlNetApplyAdvanced()
    positive, negative = node.apply_controlnet(conditioning(), conditioning(), Steering(), image, 0.5, 0.1, 0.9)
    first = positive[0][1]["control"]
    assert first is negative[0][1]["control"]
    assert (first.hint.shape, first.strength, first.percents) == ((1, 3, 8, 8), 0.5, (0.1, 0.9))
    assert positive[0][1]["control_apply_to_uncond"] is False
    again, _ = node.apply_controlnet(positive, negative, Steering(), image, 1.0, 0.0, 1.0)
    assert again[0][1]["control"].previous is first


def test_the_old_node_lets_the_control_act_on_the_other_side_too():
    [changed] = ControlNetApply().apply_controlnet(conditioning(), Steering(), torch.rand(1, 8, 8, 3), 1.0)
    assert changed[0][1]["control_apply_to_uncond"] is True


@pytest.mark.parametrize("sees_mask", [True, False])
def test_an_inpainting_control_sees_the_picture_without_its_masked_part(sees_mask):
    control, picture, mask = Steering(), torch.rand(1, 8, 8, 3) + 0.1, torch.zeros(1, 4, 4)
    control.concat_mask = sees_mask
    mask[:, :2] = 1.0  # the upper half, at another size than the picture's
    sides = ControlNetInpaintingAliMamaApply().apply_inpaint_controlnet(
        conditioning(), conditioning(), control, "vae", picture, mask, 0.5, 0.1, 0.9
    )
    used = sides[0][0][1]["control"]
    assert used is sides[1][0][1]["control"]
    assert (used.strength, used.percents, used.vae) == (0.5, (0.1, 0.9), "vae")
    seen = picture.clone()
    if sees_mask:
        seen[:, :4] = 0.0
        assert torch.equal(used.beside[0], 1.0 - mask[:, None])
    assert torch.equal(used.hint, seen.movedim(-1, 1))
    assert len(used.beside) == sees_mask


def test_at_no_strength_nothing_changes():
    given = conditioning()
    assert ControlNetApply().apply_controlnet(given, Steering(), torch.rand(1, 8, 8, 3), 0.0) == (given,)


@pytest.mark.parametrize(("kind", "number"), [("auto", []), ("openpose", [0]), ("repaint", [7])])
def test_the_kind_of_a_union_control_is_its_number(kind, number):
    control = Steering()
    [changed] = SetUnionControlNetType().set_controlnet_type(control, kind)
    assert (changed.extra_args["control_type"], control.extra_args) == (number, {})
