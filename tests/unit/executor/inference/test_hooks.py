"""What packs put at the patch points of a network takes effect there and nowhere else."""

from types import SimpleNamespace

import pytest
import torch

from executor.inference.checkpoint import Checkpoint
from executor.inference.conditions import Condition
from executor.inference.denoising import sampling_options
from executor.inference.guidance import Guider
from executor.inference.hooks import tell_misfit
from executor.inference.wrappers import APPLY_MODEL, CALC_COND_BATCH, DIFFUSION_MODEL, PREDICT_NOISE

X, SIGMA, CONTEXT = torch.randn(1, 4, 8, 8), torch.tensor([3.0]), torch.randn(1, 7, 32)


def answer(handle):
    """What a network answers with a MODEL's options."""
    handle.load()
    options = sampling_options(handle, torch.tensor([3.0, 0.0]))["transformer_options"]
    with torch.no_grad():
        return handle.model.apply(X, SIGMA, context=CONTEXT, transformer_options=options)


@pytest.fixture
def plain(tiny: Checkpoint):
    """The unpatched answer."""
    return answer(tiny.model)


def test_without_patches_options_change_nothing(tiny, plain):
    tiny.model.load()
    with torch.no_grad():
        assert torch.equal(tiny.model.model.apply(X, SIGMA, context=CONTEXT), plain)


ONE_TENSOR = (
    "middle_patch",
    "attn1_output_patch",
    "attn2_output_patch",
    "input_block_patch",
    "input_block_patch_after_skip",
)


@pytest.mark.parametrize("name", ONE_TENSOR)
def test_a_patch_of_one_tensor_sees_and_changes_it(tiny, plain, name):
    seen = []

    def keep(x, options):
        seen.append(options["block"])
        return x

    same, other = tiny.model.clone(), tiny.model.clone()
    getattr(same, f"set_model_{name}")(keep)
    getattr(other, f"set_model_{name}")(lambda x, options: x * 1.5)
    assert torch.equal(answer(same), plain)
    assert ("input", 1) in seen
    assert not torch.allclose(answer(other), plain)


@pytest.mark.parametrize("name", ["attn1_patch", "attn2_patch"])
def test_attention_patches_are_given_query_context_and_value(tiny, plain, name):
    shapes = []

    def keep(n, context, value, options):
        shapes.append((n.shape[-1], context.shape[-1], value.shape[-1], options["n_heads"] * options["dim_head"]))
        return n, context, value

    same, other = tiny.model.clone(), tiny.model.clone()
    getattr(same, f"set_model_{name}")(keep)
    getattr(other, f"set_model_{name}")(lambda n, context, value, options: (n, context, value * 2))
    assert torch.equal(answer(same), plain)
    assert {shape[0] == shape[3] for shape in shapes} == {True}
    assert {shape[1] for shape in shapes} == ({32} if name == "attn2_patch" else {16, 24})
    assert not torch.allclose(answer(other), plain)


@pytest.mark.parametrize("name", ["attn1", "attn2"])
@pytest.mark.parametrize("index", [None, 0])
def test_a_replacement_stands_in_for_one_block_only(tiny, plain, name, index):
    from executor.inference.attention import attend

    seen = []

    def same(q, k, v, options):
        seen.append((options["block"], options["block_index"]))
        return attend(q, k, v, options["n_heads"])

    handle, zero, elsewhere = (tiny.model.clone() for _ in range(3))
    getattr(handle, f"set_model_{name}_replace")(same, "middle", 0, index)
    getattr(zero, f"set_model_{name}_replace")(lambda q, k, v, options: torch.zeros_like(q), "output", 1, index)
    getattr(elsewhere, f"set_model_{name}_replace")(lambda q, k, v, options: v * 0, "output", 1, 5)
    torch.testing.assert_close(answer(handle), plain)
    assert seen == [(("middle", 0), 0)]
    assert torch.allclose(answer(zero), plain) == (("output", 1) not in attending(tiny))
    assert torch.equal(answer(elsewhere), plain)


def attending(tiny):
    blocks = tiny.model.model.diffusion_model.shape.output
    return {("output", n) for n, block in enumerate(blocks) if any(each.kind == "attention" for each in block)}


def test_output_block_patches_see_features_and_skip_connection(tiny, plain):
    numbers = []

    def patch(h, skip, options):
        numbers.append(options["block"][1])
        return h, skip * 0.9

    handle = tiny.model.clone()
    handle.set_model_output_block_patch(patch)
    assert not torch.allclose(answer(handle), plain)
    assert numbers == list(range(len(tiny.model.model.diffusion_model.output_blocks)))


def test_the_embedding_of_the_time_can_be_changed(tiny, plain):
    handle = tiny.model.clone()
    handle.set_model_emb_patch(lambda emb, width, options: emb * 0)
    assert not torch.allclose(answer(handle), plain)


def test_attention_can_be_overridden_everywhere(tiny, plain):
    calls = []

    def override(attend, q, k, v, heads, mask=None, **options):
        calls.append(heads)
        return attend(q, k, v, heads, mask)

    handle = tiny.model.clone()
    handle.model_options["transformer_options"]["optimized_attention_override"] = override
    assert torch.equal(answer(handle), plain)
    assert len(calls) >= 4


def test_controls_add_to_skips_and_middle(tiny, plain):
    blocks = len(tiny.model.model.diffusion_model.input_blocks)
    zeros = {"output": [None] * blocks, "middle": [None], "input": [None] * blocks}
    tiny.model.load()
    with torch.no_grad():
        same = tiny.model.model.apply(X, SIGMA, context=CONTEXT, control=zeros)
        other = tiny.model.model.apply(X, SIGMA, context=CONTEXT, control={**zeros, "middle": [torch.ones(1)]})
    assert torch.equal(same, plain)
    assert not torch.allclose(other, plain)
    assert zeros["middle"] == [None]


@pytest.mark.parametrize(
    ("shape", "why"),
    [((1, 24, 5, 4), "the model works at another size there, as Deep Shrink lets it"),
     ((1, 7, 4, 4), "it was made for another family"), ((2, 24, 4, 4), "it was made for another family")],
    ids=["size", "width", "rows"],
)  # fmt: skip
def test_features_that_do_not_fit_their_block_are_left_out_and_told(tiny, plain, caplog, shape, why):
    tell_misfit.cache_clear()
    tiny.model.load()
    for _ in range(2):  # steps
        with torch.no_grad():
            same = tiny.model.model.apply(X, SIGMA, context=CONTEXT, control={"middle": [torch.ones(shape)]})
        assert torch.equal(same, plain)
    told = f"features of shape {shape} do not fit the middle block's of shape (1, 24, 4, 4)"
    assert [(told in said.getMessage(), why in said.getMessage()) for said in caplog.records] == [(True, True)]


@pytest.mark.parametrize("kind", [APPLY_MODEL, DIFFUSION_MODEL])
def test_wrappers_stand_around_the_network(tiny, plain, kind):
    order = []

    def outer(executor, *args, **kwargs):
        order.append(("outer", type(executor.class_obj).__name__))
        return executor(*args, **kwargs)

    def inner(executor, *args, **kwargs):
        order.append(("inner", None))
        return executor(*args, **kwargs)

    handle = tiny.model.clone()
    handle.add_wrapper_with_key(kind, "pack", outer)
    handle.add_wrapper(kind, inner)
    assert torch.equal(answer(handle), plain)
    assert order == [("outer", "DiffusionModel" if kind == APPLY_MODEL else "UNet"), ("inner", None)]
    handle.remove_wrappers_with_key(kind, "pack")
    assert handle.get_all_wrappers(kind) == [inner]


class Toy:
    """A network that halves."""

    sampling = SimpleNamespace()

    def apply(self, x, sigma, *, context, transformer_options=None, **conditions):
        return x * context.mean(dim=(1, 2))[:, None, None, None]

    def apply_model(self, x, t, **c):
        return self.apply(x, t, context=c["c_crossattn"])


def guided(options, cfg=2.0):
    sides = [Condition(context=torch.full((1, 1, 1), value)) for value in (1.0, 0.5)]
    return Guider(Toy(), sides[:1], sides[1:], cfg, options)(torch.ones(1, 4, 2, 2), 1.0).unique().item()


def test_guidance_without_hooks():
    assert guided({}) == 1.5


@pytest.mark.parametrize("kind", [PREDICT_NOISE, CALC_COND_BATCH])
def test_wrappers_stand_around_guidance(kind):
    def half(executor, *args, **kwargs):
        answer = executor(*args, **kwargs)
        return [each / 2 for each in answer] if isinstance(answer, list) else answer / 2

    assert guided({"transformer_options": {"wrappers": {kind: {None: [half]}}}}) == 0.75


def test_a_function_can_stand_around_each_network_call():
    def wrapper(apply_model, given):
        assert sorted(given) == ["c", "cond_or_uncond", "input", "timestep"]
        return apply_model(given["input"], given["timestep"], **given["c"]) * len(given["cond_or_uncond"])

    assert guided({"model_function_wrapper": wrapper}) == 3.0


def test_a_function_can_answer_for_all_sides():
    def calculate(given):
        return [given["input"] * 3, given["input"]]

    assert guided({"sampler_calc_cond_batch_function": calculate}) == 5.0


def test_later_hooks_are_given_the_conditions():
    def hook(given):
        assert given["cond"][0].context.item() == 1.0
        assert given["uncond"][0].context.item() == 0.5
        return given["denoised"] + 1

    assert guided({"sampler_post_cfg_function": [hook]}) == 2.5


def test_object_patches_are_in_place_while_their_model_is_loaded(tiny):
    from executor.inference.denoiser import discrete_v

    other, sampling = tiny.model.clone(), tiny.model.model_sampling
    other.add_object_patch("model_sampling", discrete_v())
    other.add_object_patch("diffusion_model.input_blocks.0.0.forward", lambda x: torch.zeros(1, 16, 8, 8))
    other.load()
    assert other.model.model_sampling is not sampling
    assert tiny.model.get_model_object("model_sampling") is sampling
    assert "forward" in vars(tiny.model.model.diffusion_model.input_blocks[0][0])
    tiny.model.load()
    assert tiny.model.model.model_sampling is sampling
    assert "forward" not in vars(tiny.model.model.diffusion_model.input_blocks[0][0])


def test_callbacks_and_attachments_follow_clones(tiny):
    told = []
    handle = tiny.model.clone()
    handle.add_callback_with_key("on_clone", "k", lambda model, clone: told.append((model, clone)))
    handle.set_attachments("a", 7)
    clone = handle.clone()
    assert told == [(handle, clone)]
    assert (clone.get_attachment("a"), clone.get_all_callbacks("on_clone")) == (7, handle.get_all_callbacks("on_clone"))


def test_injections_are_taken_out_again(tiny):
    class Injection:
        inside = 0

        def inject(self, model):
            self.inside += 1

        def eject(self, model):
            self.inside -= 1

    injection, handle = Injection(), tiny.model.clone()
    handle.set_injections("k", [injection])
    with handle.loaded_for(torch.Size((1, 4, 8, 8))):
        assert injection.inside == 1
    assert injection.inside == 0
