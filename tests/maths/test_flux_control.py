"""ControlNets of Flux.1 against diffusers' FluxControlNetModel, every weight random, alone and in a whole sampling."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxControlNetModel
from safetensors.torch import save_file
from torch import nn

from executor.errors import ModelFileError, NodeInputError
from executor.inference.checkpoint import load_diffusion_model
from executor.inference.controlnet import load_controlnet
from executor.inference.flux_control_file import original_tensors
from executor.inference.flux_controlnet import alternating
from executor.inference.latent_formats import FLUX
from executor.inference.memory import Memory
from executor.inference.rotary import axis_widths
from executor.inference.sample import sample
from executor.inference.vae import load_vae
from nodes.builtin.controlnet import ControlNetApplyAdvanced, SetUnionControlNetType
from tests.maths.recordings import error
from tests.maths.test_flux import BOUND, ids, inputs, packed, theirs
from tests.tiny_checkpoint import random_tensors
from tests.tiny_flux import TINY_FLUX, random_flux, write_flux
from tests.tiny_sd3 import vae_of_sixteen_channels

# diffusers takes the positions from a place of its own that is going away
pytestmark = pytest.mark.filterwarnings("ignore:.*FluxPosEmbed.*:FutureWarning")
CPU = Memory(mode="cpu")
FORMS = {
    "plain": {"num_layers": 1, "num_single_layers": 2},
    "of both blocks alone": {"num_layers": 2, "num_single_layers": 0},
    "union": {"num_layers": 1, "num_single_layers": 1, "num_mode": 5},
    "without guidance": {"num_layers": 1, "num_single_layers": 0, "guidance_embeds": False},
}


def control(**form) -> FluxControlNetModel:
    """diffusers' network beside the smallest Flux.1, every weight random."""
    module = FluxControlNetModel(
        in_channels=64,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=TINY_FLUX.context,
        pooled_projection_dim=TINY_FLUX.vector,
        axes_dims_rope=axis_widths(32),
        **{"guidance_embeds": True, **form},
    )
    generator = torch.Generator().manual_seed(1)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.7 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    return module.requires_grad_(False).eval()


def saved(module: nn.Module, tmp_path):
    save_file({name: each.contiguous() for name, each in module.state_dict().items()}, tmp_path / "control.safetensors")
    return tmp_path / "control.safetensors"


def asked(module: FluxControlNetModel, x, hint, given, mode=None, pixels=None):
    """What diffusers' network adds."""
    rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
    with torch.no_grad():
        return module(
            hidden_states=packed(x),
            controlnet_cond=packed(hint) if pixels is None else pixels,
            controlnet_mode=None if mode is None else torch.full((len(x), 1), mode),
            encoder_hidden_states=given["context"],
            pooled_projections=given["y"],
            timestep=given["timesteps"],
            guidance=given["guidance"] if module.config.guidance_embeds else None,
            img_ids=ids(rows, columns),
            txt_ids=torch.zeros(given["context"].shape[1], 3),
            return_dict=False,
        )


@pytest.mark.parametrize("form", FORMS)
def test_what_it_adds_is_diffusers(form, tmp_path):
    module = control(**FORMS[form])
    ours = load_controlnet(saved(module, tmp_path), CPU).part.module
    x, hint, given = torch.randn(2, 16, 8, 6), torch.randn(2, 16, 8, 6), inputs(TINY_FLUX)
    mode = 3 if form == "union" else None
    for found, wanted in zip(ours(x, hint, **given, kind=mode), asked(module, x, hint, given, mode), strict=True):
        assert len(found) == len(wanted or [])
        assert all(error(a, b) < BOUND for a, b in zip(found, wanted or [], strict=True))


def xlabs(module: FluxControlNetModel) -> dict[str, torch.Tensor]:
    """diffusers' network that sees pixels, in the names of XLabs' files."""
    ours = original_tensors(module.state_dict())
    tensors = {name.replace("controlnet_x_embedder.", "pos_embed_input."): each for name, each in ours.items()}
    hint, state = module.input_hint_block, module.state_dict()
    layers = ["conv_in", *(f"blocks.{number}" for number in range(len(hint.blocks))), "conv_out"]
    for number, layer in enumerate(layers):  # activations are numbered too
        for kind in ("weight", "bias"):
            tensors[f"input_hint_block.{2 * number}.{kind}"] = state[f"input_hint_block.{layer}.{kind}"]
    return {name: each.contiguous() for name, each in tensors.items()}


def test_a_network_that_sees_pixels_adds_what_diffusers_does(tmp_path):
    module = control(num_layers=2, num_single_layers=0, conditioning_embedding_channels=16, patch_size=2)
    save_file(xlabs(module), tmp_path / "xlabs.safetensors")
    steering = load_controlnet(tmp_path / "xlabs.safetensors", CPU)
    x, pixels, given = torch.randn(2, 16, 8, 6), torch.randn(2, 3, 64, 48), inputs(TINY_FLUX)
    found, _ = steering.part.module(x, pixels, **given)
    wanted, _ = asked(module, x, None, given, pixels=pixels)
    assert all(error(a, b) < BOUND for a, b in zip(found, wanted, strict=True))
    assert steering.compression_ratio == 8


def test_features_of_a_network_that_sees_pixels_come_by_turns_and_need_no_vae(bench, tmp_path):
    module = control(num_layers=2, num_single_layers=0, conditioning_embedding_channels=16, patch_size=2)
    save_file(xlabs(module), tmp_path / "xlabs.safetensors")
    steering = load_controlnet(tmp_path / "xlabs.safetensors", CPU)
    first, second = torch.zeros(1), torch.ones(1)
    assert [each.item() for each in alternating([first, second], 5)] == [0, 1, 0, 1, 0]
    steered = drawn(bench, conditioned(bench, control=steering, vae=None), size=(7, 5))
    plain = drawn(bench, conditioned(bench, control=steering, vae=None, strength=0.0), size=(7, 5))
    assert not torch.allclose(steered, plain, atol=1e-3)


@pytest.fixture
def bench(tmp_path):
    """A model, a VAE, a picture and a control whose features are shared by several blocks."""
    save_file(random_tensors({"": vae_of_sixteen_channels()}, torch.float32), tmp_path / "ae.safetensors")
    module = control(num_layers=1, num_single_layers=2)
    return {
        "model": load_diffusion_model(write_flux(tmp_path / "flux.safetensors"), CPU),
        "vae": load_vae(tmp_path / "ae.safetensors", CPU),
        "image": torch.rand(1, 64, 48, 3, generator=torch.manual_seed(2)),
        "module": module,
        "control": load_controlnet(saved(module, tmp_path), CPU),
    }


def drawn(bench, positive, steps=1, size=(8, 6)):
    """Latents after some steps of Euler's method."""
    settings = {"seed": 7, "steps": steps, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    empty = {"samples": torch.zeros(1, 16, *size)}
    return sample(bench["model"], empty, positive=positive, negative=positive, **settings)


def conditioned(bench, control=None, vae="own", strength=0.8):
    """A text under the control."""
    given = {name: each[:1] for name, each in inputs(TINY_FLUX).items()}
    text = [[given["context"], {"pooled_output": given["y"], "guidance": 2.5}]]
    vae = bench["vae"] if vae == "own" else vae
    control = control or bench["control"]
    return ControlNetApplyAdvanced().apply_controlnet(text, text, control, bench["image"], strength, 0.0, 1.0, vae)[0]


def test_a_step_under_it_is_diffusers(bench):
    found = drawn(bench, conditioned(bench))
    given = {name: each[:1] for name, each in inputs(TINY_FLUX).items()}
    given |= {"timesteps": torch.ones(1), "guidance": torch.tensor([2.5])}
    noise = torch.randn(1, 16, 8, 6, generator=torch.manual_seed(7))
    hint = (bench["vae"].encode(bench["image"]) - 0.1159) * 0.3611
    doubles, singles = asked(bench["module"], noise, hint, given)
    with torch.no_grad():
        answer = theirs(random_flux())(
            hidden_states=packed(noise),
            encoder_hidden_states=given["context"],
            pooled_projections=given["y"],
            timestep=given["timesteps"],
            guidance=given["guidance"],
            img_ids=ids(4, 3),
            txt_ids=torch.zeros(7, 3),
            controlnet_block_samples=[each * 0.8 for each in doubles],
            controlnet_single_block_samples=[each * 0.8 for each in singles],
        ).sample
    assert error(packed(FLUX.process_in(found)), packed(noise) - answer) < BOUND


def test_sizes_that_are_odd_are_steered_too(bench):
    assert drawn(bench, conditioned(bench), steps=2, size=(7, 5)).shape == (1, 16, 7, 5)


def test_without_a_vae_it_says_what_to_connect(bench):
    with pytest.raises(NodeInputError, match="reads pictures as latents: connect the VAE of the model"):
        drawn(bench, conditioned(bench, vae=None))


def test_models_of_another_width_are_refused(bench, tmp_path):
    changes = {"width": 96, "heads": 3, "inner": 288}
    other = load_diffusion_model(write_flux(tmp_path / "other.safetensors", **changes), CPU)
    with pytest.raises(NodeInputError, match="steers models of width 64, and this model is of width 96"):
        drawn({**bench, "model": other}, conditioned(bench))


def test_a_union_network_is_told_what_the_picture_shows(bench, tmp_path):
    union = load_controlnet(saved(control(**FORMS["union"]), tmp_path), CPU)
    kinds = ("auto", "depth", "canny/lineart/anime_lineart/mlsd")
    told = {kind: SetUnionControlNetType().set_controlnet_type(union, kind)[0] for kind in kinds}
    assert [each.kind() for each in told.values()] == [None, 2, 0]
    pictures = [drawn(bench, conditioned(bench, control=each)) for each in told.values()]
    assert not torch.allclose(pictures[0], pictures[1], atol=1e-3)
    assert not torch.allclose(pictures[1], pictures[2], atol=1e-3)
    (strange,) = SetUnionControlNetType().set_controlnet_type(union, "segment")
    with pytest.raises(NodeInputError, match="does not know the kind of picture that was set; choose one of canny"):
        drawn(bench, conditioned(bench, control=strange))


def test_a_missing_tensor_is_named(tmp_path):
    tensors = control(**FORMS["plain"]).state_dict()
    del tensors["controlnet_single_blocks.1.weight"]
    save_file({name: each.contiguous() for name, each in tensors.items()}, tmp_path / "control.safetensors")
    with pytest.raises(ModelFileError, match=r"lacks 1 tensors, such as controlnet_single_blocks\.1\.weight"):
        load_controlnet(tmp_path / "control.safetensors", CPU)
