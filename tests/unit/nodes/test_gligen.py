"""Texts placed in boxes: the network against diffusers' own, and what the nodes and a sampling make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from executor.errors import ModelFileError, NodeInputError
from executor.inference.diffusion import TOKENS
from executor.inference.families.diffusers_unet import original_unet_names
from executor.inference.families.sd15 import SD15
from executor.inference.gligen import load_gligen
from executor.inference.memory import Memory
from executor.inference.weights import WeightFile
from nodes.builtin.conditioning import CLIPTextEncode
from nodes.builtin.gligen import GLIGENLoader, GLIGENTextBoxApply
from nodes.builtin.loaders import CheckpointLoaderSimple
from nodes.builtin.sampling import KSampler
from tests.maths.recordings import error
from tests.tiny_checkpoint import TinySizes, linear, norm, random_tensors, write_tiny_checkpoint

BOUND = 1e-5
SETTINGS = {"seed": 3, "steps": 2, "cfg": 2.5, "sampler_name": "euler", "scheduler": "normal"}
CONTEXT = 32


def random_unet() -> nn.Module:
    """diffusers' gated network with all weights random."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=8,
        cross_attention_dim=CONTEXT,
        attention_type="gated",
    )
    generator = torch.Generator().manual_seed(0)
    for weight in unet.parameters():
        fan_in = weight[0].numel() if weight.ndim else 1
        nn.init.normal_(weight, std=0.5 / max(1, fan_in) ** 0.5, generator=generator)
    return unet.requires_grad_(False).eval()


def test_a_network_with_boxes_answers_as_diffusers(tmp_path):
    original = random_unet()
    weights = original.state_dict()
    names = original_unet_names({name: tensor for name, tensor in weights.items() if "position_net" not in name})
    gligen = {names[name]: tensor for name, tensor in weights.items() if ".fuser." in name}
    gligen |= {name: tensor for name, tensor in weights.items() if name.startswith("position_net.")}
    save_file(gligen, tmp_path / "gligen.safetensors")
    model = load_gligen(tmp_path / "gligen.safetensors", Memory(torch.device("cpu")))
    plain = {name: key for name, key in names.items() if ".fuser." not in name}
    file = WeightFile(path=Path("u.safetensors"), tensors={name: weights[name] for name in plain})
    diffusion = SD15.build_diffusion(file, plain)
    x, timestep, context = torch.randn(2, 4, 8, 8), torch.tensor([300.0, 300.0]), torch.randn(2, 7, CONTEXT)
    vectors = torch.randn(2, CONTEXT)
    boxes = [(vectors[:1], 4, 2, 0, 1), (vectors[1:], 8, 4, 0, 4)]  # height, width, y, x
    corners = torch.zeros(2, 30, 4)
    corners[0, 0], corners[0, 1] = torch.tensor([1 / 8, 0, 3 / 8, 0.5]), torch.tensor([0.5, 0, 1, 1])
    masks, embeddings = torch.zeros(2, 30), torch.zeros(2, 30, CONTEXT)
    masks[0, :2], embeddings[0, :2] = 1, vectors
    given = {"boxes": corners, "masks": masks, "positive_embeddings": embeddings}
    expected = original(x, timestep, context, cross_attention_kwargs={"gligen": given}).sample
    tokens = torch.cat([model.tokens(boxes, (8, 8)), model.tokens([], (8, 8))])
    options = {TOKENS: tokens, "patches": {"middle_patch": [model.fuse]}}
    assert error(diffusion.part.module(x, timestep, context, transformer_options=options), expected) < BOUND


# ---------------------------------------------------------------- nodes


def gligen_tensors(widths: dict[str, int]) -> dict[str, Tensor]:
    """Random weights of a small GLIGEN file; block's name → width."""
    shapes = {"position_net.null_positive_feature": (CONTEXT,), "position_net.null_position_feature": (64,)}
    shapes |= linear("position_net.linears.0", 512, CONTEXT + 64) | linear("position_net.linears.2", 512, 512)
    shapes |= linear("position_net.linears.4", CONTEXT, 512)
    for block, width in widths.items():
        fuser = f"{block}.transformer_blocks.0.fuser"
        shapes |= linear(f"{fuser}.linear", width, CONTEXT) | norm(f"{fuser}.norm1", width)
        shapes |= norm(f"{fuser}.norm2", width) | linear(f"{fuser}.attn.to_out.0", width, width)
        for part in "qkv":
            shapes |= linear(f"{fuser}.attn.to_{part}", width, width, bias=False)
        shapes |= linear(f"{fuser}.ff.net.0.proj", 8 * width, width) | linear(f"{fuser}.ff.net.2", width, 4 * width)
        shapes |= {f"{fuser}.alpha_attn": (), f"{fuser}.alpha_dense": ()}
    return random_tensors({"": shapes})


@pytest.fixture
def loaded(place):
    """MODEL, CLIP and GLIGEN of small files."""
    place.memory = Memory(torch.device("cpu"))
    for kind in ("checkpoints", "gligen"):
        place.folders.paths(kind)[0].mkdir(parents=True, exist_ok=True)
    write_tiny_checkpoint(place.folders.paths("checkpoints")[0] / "sd15.safetensors", TinySizes(context=CONTEXT))
    widths = {"input_blocks.1.1": 16, "middle_block.1": 24, "output_blocks.2.1": 16}
    save_file(gligen_tensors(widths), place.folders.paths("gligen")[0] / "g.safetensors")
    model, clip, _ = CheckpointLoaderSimple().load_checkpoint("sd15.safetensors")
    return model, clip, GLIGENLoader().load_gligen("g.safetensors")[0]


def drawn(loaded, *boxes: tuple[str, int, int, int, int]) -> Tensor:
    """The latents of a text with others in boxes (text, width, height, x, y)."""
    model, clip, gligen = loaded
    [positive] = CLIPTextEncode().encode(clip, "a room")
    [negative] = CLIPTextEncode().encode(clip, "")
    for box in boxes:
        [positive] = GLIGENTextBoxApply().append(positive, clip, gligen, *box)
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    return KSampler().sample(model, positive=positive, negative=negative, latent_image=latent, **SETTINGS)[0]["samples"]


def test_boxes_change_the_picture_by_text_and_place(loaded):
    pictures = [drawn(loaded), *(drawn(loaded, box) for box in (("cat", 32, 32, 0, 0), ("dog", 32, 32, 0, 0)))]
    pictures += [drawn(loaded, ("cat", 32, 32, 32, 32)), drawn(loaded, ("cat", 32, 32, 0, 0), ("dog", 16, 16, 40, 8))]
    for place, one in enumerate(pictures):
        for other in pictures[place + 1 :]:
            assert float((one - other).abs().max()) > 1e-5


def test_a_model_draws_as_before_after_boxes(loaded):
    before = drawn(loaded)
    drawn(loaded, ("cat", 32, 32, 0, 0))
    assert torch.equal(drawn(loaded), before)


def test_boxes_are_kept_in_cells(loaded):
    _, clip, gligen = loaded
    [positive] = CLIPTextEncode().encode(clip, "a room")
    [changed] = GLIGENTextBoxApply().append(positive, clip, gligen, "cat", 64, 32, 8, 16)
    kind, model, [(vector, *cells)] = changed[0][1]["gligen"]
    assert (kind, model is gligen, cells) == ("position", True, [4, 8, 2, 1])
    assert vector.shape == (1, CONTEXT)
    assert "gligen" not in positive[0][1]


def test_more_boxes_than_tokens_are_refused(loaded):
    with pytest.raises(NodeInputError, match="up to 30 texts, and this conditioning has 31"):
        drawn(loaded, *[("cat", 8, 8, 0, 0)] * 31)


def test_a_model_of_another_width_is_refused(loaded, place):
    save_file(gligen_tensors({"input_blocks.1.1": 40}), place.folders.paths("gligen")[0] / "wide.safetensors")
    [wide] = GLIGENLoader().load_gligen("wide.safetensors")
    with pytest.raises(NodeInputError, match="for cells of width 40, this network's has 16"):
        drawn((*loaded[:2], wide), ("cat", 32, 32, 0, 0))


def test_another_file_is_no_gligen(place):
    folder = place.folders.paths("gligen")[0]
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"conv_first.weight": torch.zeros(1)}, folder / "x.safetensors")
    with pytest.raises(ModelFileError, match=r"looks like an upscaling model; a GLIGEN model of text boxes fits here"):
        GLIGENLoader().load_gligen("x.safetensors")
