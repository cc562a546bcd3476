"""Our networks beside the UNet against diffusers' of the same weights, and a chain of controls written out."""

import itertools

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from executor.errors import NodeInputError
from executor.inference.checkpoint import load_checkpoint
from executor.inference.control import Control
from executor.inference.controlnet import NetControl, load_controlnet, without_masked
from executor.inference.controlnet_file import original_names
from executor.inference.denoiser import discrete_eps
from executor.inference.memory import Memory
from tests.maths.recordings import error
from tests.maths.test_families import filled
from tests.tiny_checkpoint import TinySizes, write_tiny_checkpoint

BOUND = 1e-5  # one forward, relative (reference/model_layer.md)
CPU = Memory(mode="cpu")


class Model:
    """What a control asks of the model it steers."""

    model_sampling = discrete_eps()


def theirs():
    from diffusers.models.controlnets.controlnet import ControlNetModel

    return filled(
        ControlNetModel(
            block_out_channels=(32, 64),
            layers_per_block=2,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            cross_attention_dim=24,
            attention_head_dim=8,
            conditioning_embedding_out_channels=(4, 8, 12, 16),
        )
    )


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """diffusers' ControlNet, every weight random."""
    return theirs()


@pytest.fixture(scope="module", params=["diffusers", "original", "bare"])
def control(request, network, tmp_path_factory) -> NetControl:
    """The same weights read from a file of each layout."""
    tensors = network.state_dict()
    if request.param != "diffusers":
        names = original_names(tensors)
        prefix = "control_model." if request.param == "original" else ""
        tensors = {prefix + names[name]: tensor for name, tensor in tensors.items()}
    path = tmp_path_factory.mktemp("controlnet") / "edges.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return load_controlnet(path, CPU)


def test_features_are_those_of_diffusers(control, network):
    x, sigma = torch.randn(2, 4, 8, 12), torch.tensor([7.0, 0.5])
    context, hint = torch.randn(2, 5, 24), torch.rand(1, 3, 64, 96)
    mine = control.copy().set_cond_hint(hint)
    mine.pre_run(Model(), Model.model_sampling.percent_to_sigma)
    found = mine.get_control(x, sigma, {"c_crossattn": context}, 2, {})
    sampling = Model.model_sampling
    with torch.no_grad():
        skips, middle = network(
            sampling.calculate_input(sigma, x),
            sampling.timestep(sigma).float(),
            context,
            hint.expand(2, -1, -1, -1),
            return_dict=False,
        )
    errors = [error(a, b) for a, b in zip([*found["output"], *found["middle"]], [*skips, middle], strict=True)]
    assert max(errors) < BOUND


def test_a_control_of_another_family_is_told_by_what_it_takes(control):
    mine = control.copy().set_cond_hint(torch.rand(1, 3, 64, 64))
    mine.pre_run(Model(), Model.model_sampling.percent_to_sigma)
    for context, words in ((torch.randn(1, 5, 32), "has 32"), (None, "has none")):
        with pytest.raises(
            NodeInputError, match=f"takes text of width 24, and the conditioning {words}: it belongs to"
        ):
            mine.get_control(torch.randn(1, 4, 8, 8), torch.tensor([1.0]), {"c_crossattn": context}, 1, {})


def test_a_picture_of_other_channels_is_told_in_words(control):
    mine = control.copy().set_cond_hint(torch.rand(1, 4, 64, 64))
    mine.pre_run(Model(), Model.model_sampling.percent_to_sigma)
    with pytest.raises(NodeInputError, match="takes pictures of 3 channels, and the one it was given has 4"):
        mine.get_control(torch.randn(1, 4, 8, 8), torch.tensor([1.0]), {"c_crossattn": torch.randn(1, 5, 24)}, 1, {})


class Constant(Control):
    """A control that adds one number."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def features(self, x_noisy, t, cond, batched_number):
        return {"output": [torch.full((1, 2, 2, 2), self.value)], "middle": [torch.full((1, 2, 2, 2), 1.0)]}


def run(control, sigma):
    control.pre_run(Model(), Model.model_sampling.percent_to_sigma)
    return control.get_control(torch.zeros(1, 4, 2, 2), torch.tensor([sigma]), {}, 1, {})


def test_controls_of_a_chain_add_up_at_their_strengths():
    hint = torch.zeros(1, 3, 16, 16)
    chain = Constant(10.0).set_cond_hint(hint, 0.5)
    chain.set_previous_controlnet(Constant(1.0).set_cond_hint(hint, 2.0))
    found = run(chain, 1.0)
    assert (found["output"][0].unique().item(), found["middle"][0].unique().item()) == (7.0, 2.5)


def test_a_control_acts_only_in_its_part_of_the_sampling():
    hint = torch.zeros(1, 3, 16, 16)
    early = Constant(1.0).set_cond_hint(hint, 1.0, (0.0, 0.5))
    late = Constant(2.0).set_cond_hint(hint, 1.0, (0.5, 1.0)).set_previous_controlnet(early)
    assert run(late, 14.0)["output"][0].unique().item() == 1.0
    assert run(late, 0.1)["output"][0].unique().item() == 2.0
    assert run(Constant(1.0).set_cond_hint(hint, 1.0, (0.5, 1.0)), 14.0) is None


def test_a_hint_of_another_size_is_cut_and_scaled_to_the_latents():
    control = Constant(1.0).set_cond_hint(torch.rand(1, 3, 40, 100))
    assert control.hint_for(torch.zeros(2, 4, 3, 5), 2).shape == (2, 3, 24, 40)


def test_hints_of_a_batch_go_to_the_rows_of_every_condition():
    hints = torch.stack([torch.full((3, 16, 16), value) for value in (0.1, 0.2)])
    rows = Constant(1.0).set_cond_hint(hints).hint_for(torch.zeros(4, 4, 2, 2), 2)
    torch.testing.assert_close(rows[:, 0, 0, 0], torch.tensor([0.1, 0.2, 0.1, 0.2]))


def test_the_masked_part_of_a_picture_is_black():
    mask = torch.zeros(1, 4, 4)
    mask[:, :2] = 1
    picture, kept = without_masked(torch.ones(1, 8, 8, 3), mask)
    assert (picture[:, :4].sum(), picture[:, 4:].min()) == (0, 1)
    assert kept.shape == (1, 1, 4, 4)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A checkpoint of few weights."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    sizes = TinySizes(vocabulary=9, widths=(16, 24), attends=(True, False), text_layers=1, vae_widths=(4, 4))
    return load_checkpoint(write_tiny_checkpoint(path, sizes), CPU)


def lora_and_whole(weights):
    """The same ControlNet as changes of a UNet's weights, and written out."""
    shapes = {"zero_convs.0.0": (16, 16), "zero_convs.1.0": (16, 16), "zero_convs.2.0": (16, 16)}
    shapes |= {"zero_convs.3.0": (24, 24), "middle_block_out.0": (24, 24)}
    own = {f"{name}.weight": torch.randn(*shape, 1, 1) for name, shape in shapes.items()}
    own |= {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}
    channels = [3, 4, 4, 6, 6, 8, 8, 10, 16]
    for place, (into, out) in enumerate(itertools.pairwise(channels)):
        own[f"input_hint_block.{place * 2}.weight"] = torch.randn(out, into, 3, 3) * 0.2
        own[f"input_hint_block.{place * 2}.bias"] = torch.zeros(out)
    key = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    up, down = torch.randn(16, 2), torch.randn(2, 16)
    encoder = {name: weight for name, weight in weights.items() if not name.startswith(("output_blocks", "out."))}
    lora = {**own, f"{key}.up": up, f"{key}.down": down, "lora_controlnet": torch.tensor([])}
    changed = (weights[f"{key}.weight"].float() + up @ down).half()
    return lora, {**own, **encoder, f"{key}.weight": changed}


def test_a_control_lora_is_its_network_written_out(opened, tmp_path):
    files = dict(zip(("lora", "whole"), lora_and_whole(opened.model.model.part.weights), strict=True))
    found = []
    for name, base in (("lora", None), ("lora", opened.model), ("whole", None)):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in files[name].items()}, path)
        control = load_controlnet(path, CPU, base).set_cond_hint(torch.full((1, 3, 64, 64), 0.5))
        control.pre_run(opened.model.model, Model.model_sampling.percent_to_sigma)
        x, context = torch.full((1, 4, 8, 8), 0.3), torch.ones(1, 5, 32)
        with torch.no_grad():
            found.append(control.get_control(x, torch.tensor([3.0]), {"c_crossattn": context}, 1, {})["output"])
    for lazy, bound, whole in zip(*found, strict=True):
        torch.testing.assert_close(lazy, whole, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(bound, whole, rtol=1e-4, atol=1e-4)


def test_a_file_of_differences_is_added_to_the_models_weights(opened, tmp_path, caplog):
    weights = opened.model.model.part.weights
    _, whole = lora_and_whole(weights)
    stored = {name: (t.float() - weights[name].float() if name in weights else t) for name, t in whole.items()}
    found = []
    for name, tensors, base in (
        ("whole", whole, None),
        ("difference", {**stored, "difference": torch.tensor([])}, opened.model),
        ("difference", {**stored, "difference": torch.tensor([])}, None),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: tensor.float().contiguous() for key, tensor in tensors.items()}, path)
        control = load_controlnet(path, CPU, base).set_cond_hint(torch.full((1, 3, 64, 64), 0.5))
        control.pre_run(opened.model.model, Model.model_sampling.percent_to_sigma)
        x, context = torch.full((1, 4, 8, 8), 0.3), torch.ones(1, 5, 32)
        with torch.no_grad():
            found.append(control.get_control(x, torch.tensor([3.0]), {"c_crossattn": context}, 1, {})["middle"][0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found[2], found[0], rtol=1e-3, atol=1e-3)
    assert "load it with DiffControlNetLoader" in caplog.text


# ---------------------------------------------------------------- union ControlNets


@pytest.fixture(scope="module")
def union_network() -> nn.Module:
    """diffusers' union ControlNet of SDXL's kind, every weight random."""
    from diffusers.models.controlnets.controlnet_union import ControlNetUnionModel

    return filled(
        ControlNetUnionModel(
            block_out_channels=(64, 128),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            cross_attention_dim=1024,
            attention_head_dim=(1, 2),
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=16,
            projection_class_embeddings_input_dim=6 * 16 + 20,
            conditioning_embedding_out_channels=(4, 8, 12, 16),
            num_control_type=8,
            num_trans_channel=64,
            num_trans_head=4,
            num_trans_layer=2,
            num_proj_channel=64,
        )
    )


@pytest.fixture(scope="module", params=["diffusers", "original"])
def union(request, union_network, tmp_path_factory) -> NetControl:
    """The same weights read from a file of each layout."""
    tensors = union_network.state_dict()
    if request.param == "original":
        names = original_names(tensors)
        tensors = {f"control_model.{names[name]}": tensor for name, tensor in tensors.items()}
    path = tmp_path_factory.mktemp("union") / "promax.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return load_controlnet(path, CPU)


def union_features(control, kinds, hint, x, context, y):
    mine = control.copy().set_cond_hint(hint)
    mine.set_extra_arg("control_type", kinds)
    mine.pre_run(Model(), Model.model_sampling.percent_to_sigma)
    found = mine.get_control(x, torch.tensor([7.0, 0.5]), {"c_crossattn": context, "y": y}, 2, {})
    return [*found["output"], *found["middle"]]


@pytest.mark.parametrize("kind", [0, 3, 7])
def test_a_union_controlnet_that_is_told_a_kind_answers_as_diffusers(union, union_network, kind):
    x, sigma = torch.randn(2, 4, 8, 12), torch.tensor([7.0, 0.5])
    context, hint = torch.randn(2, 5, 1024), torch.rand(1, 3, 64, 96)
    pooled, sizes = torch.randn(2, 20), torch.rand(2, 6) * 100
    with torch.no_grad():
        numbers = union_network.add_time_proj(sizes.flatten()).reshape(2, -1)
        sampling, kinds = Model.model_sampling, torch.zeros(2, 8)
        kinds[:, kind] = 1.0
        skips, middle = union_network(
            sampling.calculate_input(sigma, x),
            sampling.timestep(sigma).float(),
            context,
            [hint.expand(2, -1, -1, -1)],
            kinds,
            [kind],
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes},
            return_dict=False,
        )
    found = union_features(union, [kind], hint, x, context, torch.cat([pooled, numbers], dim=1))
    assert max(error(a, b) for a, b in zip(found, [*skips, middle], strict=True)) < BOUND


def test_each_kind_is_read_differently(union):
    given = torch.rand(1, 3, 64, 64), torch.randn(2, 4, 8, 8), torch.randn(2, 5, 1024), torch.randn(2, 116)
    answers = [union_features(union, kinds, *given)[-1] for kinds in ([], [1], [6])]
    assert all(error(a, b) > 1e-3 for a, b in itertools.combinations(answers, 2))


def test_a_kind_beyond_the_networks_is_refused(union):
    with pytest.raises(NodeInputError, match=r"knows 8 kinds of pictures.*number 10 of the list"):
        union_features(union, [9], torch.rand(1, 3, 64, 64), torch.randn(2, 4, 8, 8), None, None)
