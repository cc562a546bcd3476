"""ControlNets of Stable Diffusion 3 against diffusers' networks of the same weights, and where their features go."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from executor.errors import ModelFileError, NodeInputError
from executor.inference.checkpoint import diffusion_model_of
from executor.inference.control import Control
from executor.inference.controlnet import load_controlnet
from executor.inference.handle import ModelHandle
from executor.inference.memory import Memory
from executor.inference.vae import load_vae
from executor.inference.weights import WeightFile
from nodes.builtin.sd3 import ControlNetApplySD3
from tests.maths.test_mmdit import theirs as transformer
from tests.tiny_checkpoint import random_tensors
from tests.tiny_sd3 import TinyMMDiT, network_tensors, vae_of_sixteen_channels

CPU = Memory(mode="cpu")
SIZES = TinyMMDiT(depth=4)
BOUND = 1e-5
SCALE, SHIFT = 1.5305, 0.0609


def theirs(*, reads_text: bool, extra: int = 0, newer: bool = False) -> nn.Module:
    """diffusers' network of two blocks, every weight random."""
    from diffusers import SD3ControlNetModel

    own = {} if reads_text else {"joint_attention_dim": None, "pos_embed_type": None, "use_pos_embed": False}
    module = SD3ControlNetModel(
        **{
            "sample_size": 16,
            "num_layers": 2,
            "num_attention_heads": 2,
            "joint_attention_dim": SIZES.context,
            "caption_projection_dim": SIZES.width,
            "pooled_projection_dim": SIZES.vector,
            "pos_embed_max_size": SIZES.places,
            "extra_conditioning_channels": extra,
        }
        | ({"dual_attention_layers": (1,), "qk_norm": "rms_norm"} if newer else {})
        | own
    )
    generator = torch.Generator().manual_seed(5)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.5 / max(1, weight[0].numel()) ** 0.5, generator=generator)
    return module.requires_grad_(False).eval()


def stability_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network without text in the names of Stability AI's files: the inverse of diffusers' own conversion."""
    names = {"attn.to_out.0": "attn.proj", "ff.net.0.proj": "mlp.fc1", "ff.net.2": "mlp.fc2"}
    names["norm1.linear"] = "adaLN_modulation.1"
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".attn.to_q." in name:
            thirds = [tensors[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            found[name.replace("to_q", "qkv")] = torch.cat(thirds)
        elif ".attn.to_k." not in name and ".attn.to_v." not in name:
            block, other = name, next((theirs for theirs in names if f".{theirs}." in name), None)
            found[block if other is None else block.replace(other, names[other])] = tensor
    return found


def loaded(module: nn.Module, folder: Path, name: str = "sd3_control", *, original: bool = False) -> Control:
    """Our control of its file, in diffusers' names or Stability AI's."""
    tensors = stability_names(dict(module.state_dict())) if original else dict(module.state_dict())
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path := folder / f"{name}.safetensors")
    return load_controlnet(path, CPU)


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """A small VAE of sixteen channels."""
    path = tmp_path_factory.mktemp("vae") / "ae.safetensors"
    save_file(random_tensors({"": vae_of_sixteen_channels()}, torch.float32), path)
    return load_vae(path, CPU)


@pytest.fixture(scope="module")
def model() -> ModelHandle:
    """A small model, at work."""
    file = WeightFile(path=Path("sd3.safetensors"), tensors=network_tensors(SIZES))
    handle = diffusion_model_of(file, CPU)
    handle.load()
    return handle


def given(rows: int = 8, columns: int = 12) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "x": torch.randn(2, 16, rows, columns, generator=generator),
        "c_crossattn": torch.randn(2, 9, SIZES.context, generator=generator),
        "y": torch.randn(2, SIZES.vector, generator=generator),
    }


def picture(rows: int = 64, columns: int = 96) -> Tensor:
    return torch.rand(1, 3, rows, columns, generator=torch.Generator().manual_seed(4))


def added(control: Control, model: ModelHandle, call: dict[str, Tensor], level: float = 0.7) -> list[Tensor | None]:
    """What a control adds behind each block."""
    control.pre_run(model.model, model.model_sampling.percent_to_sigma)
    with torch.no_grad():
        found = control.get_control(call["x"], torch.full((2,), level), call, 1, {})
    assert found is not None
    return found["output"]


def error(ours: Tensor, wanted: Tensor) -> float:
    return ((ours - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("newer", [False, True], ids=["3 medium", "3.5 medium"])
def test_networks_that_read_text_answer_as_diffusers(tmp_path, vae, model, newer):
    module, call = theirs(reads_text=True, newer=newer), given()
    control = loaded(module, tmp_path).set_cond_hint(picture(), 1.0, (0.0, 1.0), vae)
    first, second, third, last = added(control, model, call)
    hint = vae.encode(picture().movedim(1, -1)) * SCALE
    wanted = module(
        call["x"],
        hint.expand(2, -1, -1, -1),
        encoder_hidden_states=call["c_crossattn"],
        pooled_projections=torch.zeros(2, SIZES.vector),
        timestep=torch.full((2,), 700.0),
        return_dict=False,
    )[0]
    assert max(error(first, wanted[0]), error(second, wanted[0]), error(third, wanted[1])) < BOUND
    assert last is None


@pytest.mark.parametrize("original", [True, False], ids=["Stability AI's names", "diffusers' names"])
def test_networks_of_the_picture_alone_answer_as_diffusers(tmp_path, vae, model, original):
    module, call, base = theirs(reads_text=False), given(), transformer(SIZES)
    control = loaded(module, tmp_path, original=original).set_cond_hint(picture(), 1.0, (0.0, 1.0), vae)
    found = added(control, model, call)
    hint = (vae.encode(picture().movedim(1, -1)) - SHIFT) * SCALE
    module.pos_embed = None
    wanted = module(
        base.pos_embed(call["x"]),
        hint.expand(2, -1, -1, -1),
        pooled_projections=call["y"],
        timestep=torch.full((2,), 700.0),
        return_dict=False,
    )[0]
    assert all(error(ours, wanted[number // 2]) < BOUND for number, ours in enumerate(found))


def test_edges_are_given_to_the_canny_network_as_it_was_trained(tmp_path, vae, model):
    module, call = theirs(reads_text=False), given()
    plain, canny = (loaded(module, tmp_path, name) for name in ("sd3.5_large_controlnet_blur", "sd3.5_large_Canny"))
    lit = (picture() * 127.5 + 0.5 + 1.0) / 2.0
    for control, hint in ((canny, picture()), (plain, lit)):
        control.set_cond_hint(hint, 1.0, (0.0, 1.0), vae)
    pairs = zip(added(canny, model, call), added(plain, model, call), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_inpainting_networks_see_what_is_kept(tmp_path, vae, model):
    module, call = theirs(reads_text=True, extra=1), given()
    control, kept = loaded(module, tmp_path), torch.zeros(1, 1, 64, 96)
    kept[..., :48] = 1.0
    assert control.concat_mask
    control.set_cond_hint(picture(), 1.0, (0.0, 1.0), vae, extra_concat=[kept])
    found = added(control, model, call)
    hint = (vae.encode(picture().movedim(1, -1)) - SHIFT) * SCALE
    cells = torch.cat([hint, kept[..., ::8, ::8]], dim=1)
    wanted = module(
        call["x"],
        cells.expand(2, -1, -1, -1),
        encoder_hidden_states=call["c_crossattn"],
        pooled_projections=torch.zeros(2, SIZES.vector),
        timestep=torch.full((2,), 700.0),
        return_dict=False,
    )[0]
    assert error(found[0], wanted[0]) < BOUND


def test_the_picture_is_encoded_once_for_a_size_and_in_odd_sizes_too(tmp_path, vae, model, monkeypatch):
    control = loaded(theirs(reads_text=True), tmp_path).set_cond_hint(picture(), 1.0, (0.0, 1.0), vae)
    control.pre_run(model.model, model.model_sampling.percent_to_sigma)
    seen, encode = [], vae.encode
    monkeypatch.setattr(vae, "encode", lambda pixels: seen.append(pixels.shape) or encode(pixels))
    call = given(7, 9)
    with torch.no_grad():
        found = [control.get_control(call["x"], torch.full((2,), level), call, 1, {}) for level in (0.7, 0.4)]
    assert seen == [(1, 56, 72, 3)]
    assert found[0]["output"][0].shape == (2, 20, SIZES.width)


def test_a_picture_drawn_with_one_is_another(tmp_path, vae, model):
    from executor.inference.sample import sample

    text = [[torch.randn(1, 9, SIZES.context), {"pooled_output": torch.randn(1, SIZES.vector)}]]
    control = loaded(theirs(reads_text=True), tmp_path)
    pixels = picture().movedim(1, -1)
    drawn = []
    for strength in (0.0, 1.0):
        sides = ControlNetApplySD3().apply_controlnet(text, text, control, pixels, strength, 0.0, 1.0, vae=vae)
        settings = {"seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple"}
        latent = {"samples": torch.zeros(1, 16, 8, 12)}
        drawn.append(sample(model, latent, positive=sides[0], negative=sides[1], **settings))
    assert error(drawn[1], drawn[0]) > 1e-3


def test_without_a_vae_the_node_is_named(tmp_path, model):
    control = loaded(theirs(reads_text=True), tmp_path).set_cond_hint(picture(), 1.0)
    with pytest.raises(NodeInputError, match="connect the VAE of the model to the input 'vae'"):
        added(control, model, given())


def test_a_model_of_another_width_is_refused(tmp_path, vae):
    wide = WeightFile(path=Path("m.safetensors"), tensors=network_tensors(TinyMMDiT(width=192, depth=1)))
    handle = diffusion_model_of(wide, CPU)
    control = loaded(theirs(reads_text=True), tmp_path).set_cond_hint(picture(), 1.0, (0.0, 1.0), vae)
    with pytest.raises(NodeInputError, match="steers models of width 128, and this model is of width 192"):
        added(control, handle, given())


def test_a_model_of_another_family_is_refused(tmp_path, vae, model):
    control = loaded(theirs(reads_text=True), tmp_path).set_cond_hint(picture(), 1.0, (0.0, 1.0), vae)
    call = {name: tensor for name, tensor in given().items() if name != "y"}
    with pytest.raises(NodeInputError, match="steers models of Stable Diffusion 3"):
        added(control, model, call)


def test_a_file_that_lacks_a_part_is_refused(tmp_path):
    tensors = {name: each for name, each in theirs(reads_text=True).state_dict().items() if "to_k.weight" not in name}
    save_file({name: each.contiguous() for name, each in tensors.items()}, path := tmp_path / "control.safetensors")
    with pytest.raises(ModelFileError, match="its ControlNet"):
        load_controlnet(path, CPU)
