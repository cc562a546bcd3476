"""ControlNets of Qwen-Image against diffusers' QwenImageControlNetModel, every weight random, alone and in a step."""

from __future__ import annotations

import pytest
import torch
from diffusers import QwenImageControlNetModel
from safetensors.torch import save_file
from torch import Tensor, nn

from executor.errors import ModelFileError, NodeInputError
from executor.inference.checkpoint import load_diffusion_model
from executor.inference.controlnet import load_controlnet
from executor.inference.memory import Memory
from executor.inference.rotary import axis_widths
from executor.inference.sample import sample
from executor.inference.vae import load_vae
from executor.inference.video_latent_formats import WAN21
from nodes.builtin.controlnet import ControlNetApplyAdvanced, ControlNetInpaintingAliMamaApply
from tests.maths.recordings import error
from tests.maths.test_qwen_image import BOUND, inputs, packed, theirs
from tests.tiny_checkpoint import random_tensors
from tests.tiny_flux import write_flux
from tests.tiny_qwen_image import TINY_QWEN_IMAGE, random_qwen_image, write_qwen_image
from tests.tiny_sd3 import vae_of_sixteen_channels
from tests.tiny_wan_vae import write_wan_vae

CPU = Memory(mode="cpu")


def control(layers: int = 2, **changes: object) -> QwenImageControlNetModel:
    """diffusers' network beside the smallest Qwen-Image, every weight random."""
    module = QwenImageControlNetModel(
        num_layers=layers,
        attention_head_dim=32,
        num_attention_heads=2,
        joint_attention_dim=TINY_QWEN_IMAGE.context,
        axes_dims_rope=axis_widths(32),
        **changes,
    )
    generator = torch.Generator().manual_seed(1)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.7 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    return module.requires_grad_(False).eval()


def saved(module: nn.Module, tmp_path):
    save_file({name: each.contiguous() for name, each in module.state_dict().items()}, tmp_path / "control.safetensors")
    return tmp_path / "control.safetensors"


def asked(module: QwenImageControlNetModel, x: Tensor, hint: Tensor, given: dict[str, Tensor]) -> list[Tensor]:
    """What diffusers' network adds."""
    with torch.no_grad():
        return module(
            hidden_states=packed(x),
            controlnet_cond=packed(hint),
            encoder_hidden_states=given["context"],
            timestep=given["timesteps"],
            img_shapes=[[(1, x.shape[3] // 2, x.shape[4] // 2)]] * len(x),
            return_dict=False,
        )


@pytest.mark.parametrize("more", [0, 4], ids=["union", "inpainting"])
def test_what_it_adds_is_diffusers(more, tmp_path):
    module = control(extra_condition_channels=more)
    ours = load_controlnet(saved(module, tmp_path), CPU).part.module
    x, hint, given = torch.randn(2, 16, 1, 8, 6), torch.randn(2, 16 + more // 4, 1, 8, 6), inputs()
    found, wanted = ours(x, hint, **given), asked(module, x, hint, given)
    assert len(found) == len(wanted) == 2
    assert all(error(a, b) < BOUND for a, b in zip(found, wanted, strict=True))


@pytest.fixture
def bench(tmp_path):
    """A model, a VAE, a picture and a control of two blocks beside the model's three."""
    module = control()
    return {
        "model": load_diffusion_model(write_qwen_image(tmp_path / "qwen.safetensors"), CPU),
        "vae": load_vae(write_wan_vae(tmp_path / "vae.safetensors"), CPU),
        "image": torch.rand(1, 64, 48, 3, generator=torch.manual_seed(2)),
        "module": module,
        "control": load_controlnet(saved(module, tmp_path), CPU),
    }


def drawn(bench, positive, rows=1, size=(8, 6), model=None):
    """Latents after a step of Euler's method."""
    settings = {"seed": 7, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple"}
    empty = {"samples": torch.zeros(rows, 16, *size)}
    return sample(model or bench["model"], empty, positive=positive, negative=positive, **settings)


def conditioned(bench, vae="own", strength=0.8, image=None):
    """A text under the control."""
    text = [[inputs()["context"][:1], {}]]
    vae, image = bench["vae"] if vae == "own" else vae, bench["image"] if image is None else image
    given = (text, text, bench["control"], image, strength, 0.0, 1.0, vae)
    return ControlNetApplyAdvanced().apply_controlnet(*given)[0]


def test_a_step_under_it_is_diffusers(bench):
    found = drawn(bench, conditioned(bench))
    given = {"context": inputs()["context"][:1], "timesteps": torch.ones(1)}
    noise = torch.randn(1, 16, 1, 8, 6, generator=torch.manual_seed(7))
    hint = WAN21.process_in(bench["vae"].encode(bench["image"]))
    with torch.no_grad():
        answer = theirs(random_qwen_image())(
            hidden_states=packed(noise),
            encoder_hidden_states=given["context"],
            timestep=given["timesteps"],
            img_shapes=[[(1, 4, 3)]],
            controlnet_block_samples=[each * 0.8 for each in asked(bench["module"], noise, hint, given)],
        ).sample
    assert error(packed(WAN21.process_in(found)), packed(noise) - answer) < BOUND
    assert error(found, drawn(bench, conditioned(bench, strength=0.0))) > 1e-3


def test_each_row_of_a_batch_follows_a_picture_of_its_own(bench):
    pictures = torch.cat([bench["image"], 1.0 - bench["image"]])
    both = drawn(bench, conditioned(bench, image=pictures), rows=2)
    first = drawn(bench, conditioned(bench, image=pictures[:1]), rows=2)
    torch.testing.assert_close(both[:1], first[:1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(both[1], first[1], atol=1e-3)


def test_latents_of_odd_sizes_are_steered(bench):
    assert drawn(bench, conditioned(bench), size=(7, 5)).shape == (1, 16, 1, 7, 5)


def test_what_is_kept_stands_behind_the_latents_for_inpainting(bench, tmp_path):
    bench["control"] = load_controlnet(saved(control(extra_condition_channels=4), tmp_path), CPU)
    mask = torch.zeros(1, 64, 48)
    mask[:, :32] = 1.0
    text = [[inputs()["context"][:1], {}]]
    given = (text, text, bench["control"], bench["vae"], bench["image"], mask, 1.0, 0.0, 1.0)
    positive = ControlNetInpaintingAliMamaApply().apply_inpaint_controlnet(*given)[0]
    hint = positive[0][1]["control"].scaled_hint((8, 6))
    assert hint.shape == (1, 17, 8, 6)
    assert hint[0, 16, :, 0].tolist() == [0.0] * 4 + [1.0] * 4
    assert torch.equal(conditioned(bench)[0][1]["control"].scaled_hint((8, 6))[:, 16], torch.ones(1, 8, 6))


def test_what_it_cannot_steer_or_read_is_told(bench, tmp_path):
    with pytest.raises(NodeInputError, match="reads pictures as latents: connect the VAE"):
        drawn(bench, conditioned(bench, vae=None))
    save_file(random_tensors({"": vae_of_sixteen_channels()}, torch.float32), tmp_path / "ae.safetensors")
    with pytest.raises(NodeInputError, match="reads latents of 16 channels of Wan's VAE"):
        drawn(bench, conditioned(bench, vae=load_vae(tmp_path / "ae.safetensors", CPU)))
    wide = load_diffusion_model(write_qwen_image(tmp_path / "wide.safetensors", width=128), CPU)
    with pytest.raises(NodeInputError, match="width 64, and this model is of width 128"):
        drawn(bench, conditioned(bench), model=wide)
    flux = load_diffusion_model(write_flux(tmp_path / "flux.safetensors", context=TINY_QWEN_IMAGE.context), CPU)
    with pytest.raises(NodeInputError, match="steers models of Qwen-Image"):
        drawn(bench, conditioned(bench), model=flux)


def test_a_tensor_that_a_file_lacks_is_named(tmp_path):
    tensors = {name: each.contiguous() for name, each in control().state_dict().items()}
    del tensors["controlnet_blocks.1.bias"]
    save_file(tensors, tmp_path / "control.safetensors")
    with pytest.raises(ModelFileError, match=r"lacks 1 tensors, such as controlnet_blocks\.1\.bias"):
        load_controlnet(tmp_path / "control.safetensors", CPU)
