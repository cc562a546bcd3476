"""Style models: their networks written down anew, and what the nodes make of them."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from executor.errors import ModelFileError, NodeInputError
from executor.inference.memory import Memory
from executor.inference.vision import Output
from nodes.builtin.vision import StyleModelApply, StyleModelLoader
from tests.maths.recordings import error
from tests.tiny_checkpoint import linear, norm, random_tensors

BOUND = 1e-5
WIDTH, TOKENS, TEXT, HEADS = 64, 3, 32, 8


def adapter_tensors() -> dict[str, Tensor]:
    """Random weights of a small style adapter."""
    shapes = (
        {"style_embedding": (1, TOKENS, WIDTH), "proj": (WIDTH, TEXT)} | norm("ln_pre", WIDTH) | norm("ln_post", WIDTH)
    )
    for number in range(2):
        layer = f"transformer_layes.{number}"  # spelt so in the files
        shapes |= {f"{layer}.attn.in_proj_weight": (3 * WIDTH, WIDTH), f"{layer}.attn.in_proj_bias": (3 * WIDTH,)}
        shapes |= linear(f"{layer}.attn.out_proj", WIDTH, WIDTH) | norm(f"{layer}.ln_1", WIDTH)
        shapes |= linear(f"{layer}.mlp.c_fc", 4 * WIDTH, WIDTH) | linear(f"{layer}.mlp.c_proj", WIDTH, 4 * WIDTH)
        shapes |= norm(f"{layer}.ln_2", WIDTH)
    return random_tensors({"": shapes}, torch.float32)


REDUX = random_tensors({"": linear("redux_up", 96, WIDTH) | linear("redux_down", TEXT, 96)}, torch.float32)


def adapted(tensors: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """What T2I-Adapter's style adapter answers, layer by layer from the file's tensors."""

    def normed(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (WIDTH,), tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def through(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    x = normed(torch.cat([hidden, tensors["style_embedding"].expand(len(hidden), -1, -1)], dim=1), "ln_pre")
    for number in range(2):
        layer = f"transformer_layes.{number}"
        attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        start = f"{layer}.attn."
        attention.load_state_dict({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})
        y = normed(x, f"{layer}.ln_1")
        x = x + attention(y, y, y, need_weights=False)[0]
        y = through(normed(x, f"{layer}.ln_2"), f"{layer}.mlp.c_fc")
        x = x + through(y * torch.sigmoid(1.702 * y), f"{layer}.mlp.c_proj")
    return normed(x[:, -TOKENS:], "ln_post") @ tensors["proj"]


@pytest.fixture
def load(place):
    """Loads a style model of these tensors."""
    place.memory = Memory(torch.device("cpu"))
    folder = place.folders.paths("style_models")[0]
    folder.mkdir(parents=True, exist_ok=True)

    def loaded(tensors: dict[str, Tensor]):
        save_file(tensors, folder / "style.safetensors")
        return StyleModelLoader().load_style_model("style.safetensors")[0]

    return loaded


def seen(width: int = WIDTH, count: int = 1) -> Output:
    """What a vision model says of pictures."""
    hidden = torch.randn(count, 5, width, generator=torch.Generator().manual_seed(2))
    return Output(hidden, hidden, None)


def applied(model, output: Output, strength: float = 1.0, kind: str = "multiply", text: int = TEXT) -> Tensor:
    """The embedding of a text with a style behind it."""
    [[[found, _]]] = StyleModelApply().apply_stylemodel([[torch.ones(1, 7, text), {}]], model, output, strength, kind)
    return found


def test_a_style_adapter_answers_as_written_down_anew(load):
    tensors = adapter_tensors()
    output = seen(count=2)
    with torch.no_grad():
        expected = adapted(tensors, output.last_hidden_state)
    assert error(load(tensors).get_cond(output), expected) < BOUND


def test_redux_answers_as_in_diffusers(load):
    from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder

    original = ReduxImageEncoder(redux_dim=WIDTH, txt_in_features=TEXT // 3)
    original.redux_up, original.redux_down = nn.Linear(WIDTH, 96), nn.Linear(96, TEXT)
    original.load_state_dict(REDUX)
    output = seen()
    with torch.no_grad():
        expected = original(output.last_hidden_state).image_embeds
    assert error(load(REDUX).get_cond(output), expected) < BOUND


def test_tokens_stand_behind_the_text_by_their_strength(load):
    model, output = load(adapter_tensors()), seen(count=2)
    plain, weak = applied(model, output), applied(model, output, 0.5)
    assert plain.shape == (1, 7 + 2 * TOKENS, TEXT)
    assert torch.equal(plain[:, :7], torch.ones(1, 7, TEXT))
    torch.testing.assert_close(weak[:, 7:], plain[:, 7:] * 0.5)
    assert torch.equal(applied(model, output, 1.0, "attn_bias"), plain)


def test_a_strength_as_attention_bias_is_refused_where_networks_cannot_be_told(load):
    with pytest.raises(NodeInputError, match=r"'strength_type': .*takes 'attn_bias'.*; 'multiply' does"):
        applied(load(adapter_tensors()), seen(), 0.5, "attn_bias")


def test_attention_is_told_how_much_to_mind_each_styles_tokens(load):
    model, output = load(REDUX), seen()
    given = [[torch.ones(1, 7, TEXT), {"kept": 1}]]
    for strength, kind in ((0.5, "attn_bias"), (1.0, "multiply"), (0.0, "attn_bias")):
        (given,) = StyleModelApply().apply_stylemodel(given, model, output, strength, kind)
    [[text, options]] = given
    tokens = model.get_cond(output)
    assert torch.equal(text[:, 7:], torch.cat([tokens] * 3, dim=1))
    wanted = [0.0] * 7 + [math.log(0.5)] * 5 + [0.0] * 5 + [math.log(1e-10)] * 5
    torch.testing.assert_close(options["attention_bias"], torch.tensor([wanted]))


def test_widths_that_do_not_fit_are_told(load):
    model = load(REDUX)
    with pytest.raises(NodeInputError, match="takes hidden states of width 64, and the vision model gave 24"):
        applied(model, seen(24))
    with pytest.raises(NodeInputError, match="its tokens have width 32, the text's 48"):
        applied(model, seen(), text=48)


def test_another_file_is_no_style_model(load):
    with pytest.raises(ModelFileError, match="looks like an upscaling model; a style adapter"):
        load({"conv_first.weight": torch.zeros(1)})


def test_a_file_without_a_layer_is_named(load):
    tensors = {name: tensor for name, tensor in adapter_tensors().items() if name != "proj"}
    with pytest.raises(ModelFileError, match=r"its style model lacks visual_projection\.weight"):
        load(tensors)
